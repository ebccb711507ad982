"""The reference trainer: one trial as a sequence of metered stages under a guard that ends it with its lease.

Importing this package imports nothing else: the guard must be up before anything slow is.
"""
