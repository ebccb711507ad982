"""This machine as a cluster, for `comptroller run`: no Kubernetes, the same controller, the same promises."""

from comptroller.cluster.local.adapter import TRAINER, Local
from comptroller.cluster.local.machine import Machine
from comptroller.cluster.local.objects import ObjectFiles

__all__ = ["TRAINER", "Local", "Machine", "ObjectFiles"]
