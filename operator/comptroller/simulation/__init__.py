"""The whole controller in virtual time, with faults, under an oracle that knows what truly happens.

A seed draws a schedule: what people do and what goes wrong, and when. A run plays it out with real operators,
a simulated cluster and a ledger in memory. Nothing in it reads a clock, and the same schedule gives the same
trace; so a failing seed replays exactly, and shrinks to the events that matter.
"""
