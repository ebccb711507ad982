"""The anchors of journals in the cluster: a ConfigMap for each governed namespace, in the operator's own.

Tenants may edit ConfigMaps of their namespace; in the operator's they have no rights.
"""

import uuid

from comptroller.cluster.api import Api, Body, Missing, path
from comptroller.cluster.jobs import MANAGED
from comptroller.ledger.anchor import Published, UnreadableAnchor
from comptroller.ledger.encoding import Head
from comptroller_api.meta import GROUP

ANCHOR = f"{GROUP}/anchor"
"""The label of these ConfigMaps, for `kubectl get -l`."""
ACCEPT = f"{GROUP}/accept-ledger"
"""The annotation by which an administrator accepts a head."""
_INSTALLATION = "comptroller-installation"
_PREFIX = "comptroller-ledger-"


class KubernetesAnchor:
    """`Anchor`, in ConfigMaps of one namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        """Publish in `namespace`, which should be one where tenants have no rights."""
        self._api = api
        self._namespace = namespace
        self._incarnation = ""

    async def incarnation(self) -> str:
        while not self._incarnation:
            body = await self._api.get(self._path(_INSTALLATION))
            if body is None:
                # Another operator may be doing the same: whose is created first is the one.
                data = {"incarnation": uuid.uuid4().hex}
                await self._api.create(self._path(), self._body(_INSTALLATION, "installation", data))
                continue
            self._incarnation = str((body.get("data") or {}).get("incarnation", ""))
            if not self._incarnation:
                raise UnreadableAnchor(
                    f"ConfigMap {self._namespace}/{_INSTALLATION}: data.incarnation is missing"
                )
        return self._incarnation

    async def read(self, namespace: str) -> Published | None:
        body = await self._api.get(self._path(_PREFIX + namespace))
        return None if body is None else self._published(body)

    async def write(self, namespace: str, new: Published, seen: Published | None) -> Published | None:
        data = {"namespace": namespace, **new.fields()}
        name = _PREFIX + namespace
        if seen is None:
            written = await self._api.create(self._path(), self._body(name, "ledger", data))
        else:
            meta: Body = {
                "resourceVersion": seen.version,
                "labels": self._labels("ledger"),
                "annotations": {ACCEPT: None},
            }
            try:
                written = await self._api.merge(self._path(name), {"metadata": meta, "data": data})
            except Missing:
                written = None
        return None if written is None else self._published(written)

    def acceptance(self, namespace: str, found: Head) -> str:
        name = f"configmap/{_PREFIX}{namespace}"
        return f"kubectl annotate --overwrite -n {self._namespace} {name} {ACCEPT}={found}"

    @staticmethod
    def _published(body: Body) -> Published:
        meta = body["metadata"]
        accepted = (meta.get("annotations") or {}).get(ACCEPT, "")
        return Published.of(body.get("data") or {}, accepted, meta["resourceVersion"])

    def _path(self, name: str | None = None) -> str:
        return path("configmaps", self._namespace, name)

    def _body(self, name: str, kind: str, data: dict[str, str]) -> Body:
        meta = {"name": name, "namespace": self._namespace, "labels": self._labels(kind)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}

    @staticmethod
    def _labels(kind: str) -> dict[str, str]:
        return {**MANAGED, ANCHOR: kind}
