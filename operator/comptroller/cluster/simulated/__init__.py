"""A cluster in virtual time: an API server that stores bodies, and all that works on them, with faults.

The whole controller runs in it through the adapter of the real cluster. So what happens when anything dies,
or when anybody edits anything, at any moment can be tried thousands of times. Nothing here reads a clock or
sleeps.
"""

from comptroller.cluster.simulated.client import KINDS, Connection, Heartbeats, Kind, Lost, Watches
from comptroller.cluster.simulated.cluster import OPERATOR, PERSON, Simulated
from comptroller.cluster.simulated.machines import Faults, Witness
from comptroller.cluster.simulated.pods import Ending, Node, Pod, SimulatedJob
from comptroller.cluster.simulated.server import Change, Server
from comptroller.cluster.simulated.timeline import Timeline

__all__ = [
    "KINDS",
    "OPERATOR",
    "PERSON",
    "Change",
    "Connection",
    "Ending",
    "Faults",
    "Heartbeats",
    "Kind",
    "Lost",
    "Node",
    "Pod",
    "Server",
    "Simulated",
    "SimulatedJob",
    "Timeline",
    "Watches",
    "Witness",
]
