"""Nodes, as far as attempts need them: what they are labelled, and whether their kubelets report. Pure."""

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


def trimmed_node(body: Body) -> Body:
    """Return a node without what is never read of it, which is most of its bytes."""
    meta = body["metadata"]
    names = ("name", "uid", "resourceVersion", "labels", "creationTimestamp")
    ready = [one for one in body.get("status", {}).get("conditions", []) if one.get("type") == "Ready"]
    return {
        "kind": "Node",
        "metadata": {name: meta[name] for name in names if name in meta},
        "status": {"conditions": ready},
    }


def lost_nodes(nodes: Iterable[Body]) -> frozenset[str]:
    """Return the names of the nodes whose kubelets no longer report, as the node controller found."""
    return frozenset(
        body["metadata"]["name"]
        for body in nodes
        if any(one.get("status") == "Unknown" for one in body.get("status", {}).get("conditions", []))
    )
