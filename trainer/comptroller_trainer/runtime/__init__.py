"""The pod's processes, without torch: the guard, what it shares with the worker, heartbeats and signals.

Importing this package imports nothing else: the guard must be up before anything slow is.
"""
