"""The nodes of a cluster, by what is read of them: their labels."""

from collections.abc import Iterable, Mapping

from comptroller.cluster.jobs import Body


class Nodes:
    """The labels of the nodes that are there, by name."""

    def __init__(self, bodies: Iterable[Body]) -> None:
        """Take the nodes as watches brought them."""
        self._labels: dict[str, Mapping[str, str]] = {
            body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in bodies
        }

    def of(self, pods: Iterable[Body]) -> tuple[Mapping[str, str], ...]:
        """Return the labels of the nodes that pods are bound to, of those nodes that are there."""
        names = (pod.get("spec", {}).get("nodeName", "") for pod in pods)
        return tuple(self._labels[name] for name in names if name in self._labels)
