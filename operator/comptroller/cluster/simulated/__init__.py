"""A cluster in virtual time: Jobs, pods, nodes, guards and trainers as state machines, with faults on demand.

The whole controller runs in it, so that what happens when anything dies at any moment can be tried thousands
of times. Nothing here reads a clock or sleeps.
"""

from comptroller.cluster.simulated.client import KINDS, Client, Kind
from comptroller.cluster.simulated.cluster import Lost, Simulated
from comptroller.cluster.simulated.job import Node, SimulatedJob
from comptroller.cluster.simulated.machines import Faults, Witness
from comptroller.cluster.simulated.timeline import Timeline

__all__ = [
    "KINDS",
    "Client",
    "Faults",
    "Kind",
    "Lost",
    "Node",
    "Simulated",
    "SimulatedJob",
    "Timeline",
    "Witness",
]
