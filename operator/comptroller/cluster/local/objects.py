"""A directory in the place of the API server: one JSON file for each object."""

import fcntl
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

from comptroller.cluster.local.supervisor import write_json
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.meta import FINALIZER
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study, StudyStatus
from comptroller_api.trial import Trial, TrialStatus

Object: TypeAlias = Study | Trial | Budget | PriceList
O = TypeVar("O", bound=Object)  # noqa: E741  (an object)

_KINDS: dict[Any, type[Study | Budget | PriceList]] = {
    "Study": Study,
    "Budget": Budget,
    "PriceList": PriceList,
}
_FOLDERS = {"Study": "studies", "Trial": "trials", "Budget": "budgets", "PriceList": "pricelists"}


class ObjectFiles:
    """Studies, trials, budgets and price lists below a directory.

    Several processes may use it at once (`comptroller run` and `comptroller stop`): each change is made on
    what is there, under a lock, and replaces the file in one step.
    """

    def __init__(self, directory: Path) -> None:
        """Use `directory`; it is made with the first object."""
        self._directory = directory
        self._seen: dict[Path, tuple[tuple[int, int], Object]] = {}

    # -- reading -------------------------------------------------------------------------------------------

    def namespaces(self) -> list[str]:
        """Every namespace that holds a study."""
        return sorted({path.parent.parent.name for path in self._directory.glob("*/studies/*.json")})

    def studies(self, namespace: str) -> tuple[Study, ...]:
        """Return the studies, sorted by name."""
        return tuple(self._all(Study, self._directory / namespace / "studies"))

    def study(self, namespace: str, name: str) -> Study | None:
        """Return one study, or `None` if it does not exist."""
        path = self._directory / namespace / "studies" / f"{name}.json"
        return self._read(Study, path) if path.exists() else None

    def trials(self, namespace: str, study_uid: str) -> tuple[Trial, ...]:
        """Return the trials of one study, in order of their numbers."""
        every = self._all(Trial, self._directory / namespace / "trials")
        return tuple(sorted((t for t in every if t.spec.study_uid == study_uid), key=lambda t: t.spec.number))

    def trial(self, namespace: str, name: str) -> Trial | None:
        """Return one trial, or `None` if it does not exist."""
        path = self._place("Trial", namespace, name)
        return self._read(Trial, path) if path.exists() else None

    def stored(self, manifest: Mapping[str, Any]) -> Object | None:
        """Return the stored object of the manifest's kind, namespace and name."""
        kind = _KINDS.get(manifest.get("kind"))
        meta = manifest.get("metadata")
        if kind is None or not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
            return None
        namespace = meta.get("namespace") or "default"
        path = self._place(kind.__name__, str(namespace), meta["name"])
        return self._read(kind, path) if path.exists() else None

    def budgets(self, namespace: str) -> tuple[Budget, ...]:
        """Return the budgets, sorted by name."""
        return tuple(self._all(Budget, self._directory / namespace / "budgets"))

    def prices(self) -> tuple[PriceList, ...]:
        """Return the price lists, sorted by name."""
        return tuple(self._all(PriceList, self._directory / "pricelists"))

    # -- writing -------------------------------------------------------------------------------------------

    def apply(self, new: O) -> O:
        """Apply an object as `kubectl apply` does: the declared half is replaced, the observed half stays."""
        with self._lock():
            path = self._path(new)
            old = self._read(type(new), path) if path.exists() else None
            if old is None:
                meta = new.metadata.model_copy(
                    update={"uid": str(uuid.uuid4()), "creation_timestamp": _now(), "generation": 1}
                )
            else:
                meta = old.metadata.model_copy(
                    update={
                        "labels": new.metadata.labels,
                        "annotations": new.metadata.annotations,
                        "generation": old.metadata.generation + (old.spec != new.spec),
                    }
                )
            status = old.status if old is not None else None
            applied = cast("O", new.model_copy(update={"metadata": meta, "status": status}))
            self._write(path, applied)
            return applied

    def create_trial(self, trial: Trial) -> None:
        """Do nothing where the name is taken."""
        with self._lock():
            path = self._path(trial)
            if not path.exists():
                meta = {"uid": str(uuid.uuid4()), "creation_timestamp": _now(), "generation": 1}
                self._write(
                    path, trial.model_copy(update={"metadata": trial.metadata.model_copy(update=meta)})
                )

    def record(self, one: Object, status: TrialStatus | StudyStatus | BudgetStatus) -> None:
        """Write the status of a trial, a study or a budget."""
        self._update(one, {"status": status})

    def protect(self, study: Study) -> None:
        """Add our finalizer."""
        self._finalizers(study, add=True)

    def unprotect(self, study: Study) -> None:
        """Take our finalizer away, and the study with it where it is being deleted."""
        self._finalizers(study, add=False)

    def suspend(self, namespace: str, name: str, *, suspended: bool) -> bool:
        """Set `spec.suspend`; whether there is such a study."""
        study = self.study(namespace, name)
        if study is None:
            return False
        with self._lock():
            now = self._read(Study, self._path(study))
            if now.spec.suspend != suspended:
                meta = now.metadata.model_copy(update={"generation": now.metadata.generation + 1})
                spec = now.spec.model_copy(update={"suspend": suspended})
                self._write(self._path(now), now.model_copy(update={"metadata": meta, "spec": spec}))
        return True

    # -- files ---------------------------------------------------------------------------------------------

    def _finalizers(self, study: Study, *, add: bool) -> None:
        with self._lock():
            path = self._path(study)
            if not path.exists():
                return
            now = self._read(Study, path)
            rest = [name for name in now.metadata.finalizers if name != FINALIZER]
            if not add and now.metadata.deletion_timestamp and not rest:
                path.unlink()
                return
            meta = now.metadata.model_copy(update={"finalizers": [*rest, FINALIZER] if add else rest})
            self._write(path, now.model_copy(update={"metadata": meta}))

    def _update(self, one: O, change: dict[str, Any]) -> None:
        with self._lock():
            path = self._path(one)
            if path.exists():
                self._write(path, self._read(type(one), path).model_copy(update=change))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _path(self, one: Object) -> Path:
        return self._place(one.kind, one.metadata.namespace, one.metadata.name)

    def _place(self, kind: str, namespace: str, name: str) -> Path:
        folder = self._directory if kind == "PriceList" else self._directory / namespace
        return folder / _FOLDERS[kind] / f"{name}.json"

    def _all(self, kind: type[O], folder: Path) -> Iterator[O]:
        return (self._read(kind, path) for path in sorted(folder.glob("*.json")))

    def _read(self, kind: type[O], path: Path) -> O:
        stat = path.stat()
        version = (stat.st_ino, stat.st_mtime_ns)
        seen = self._seen.get(path)
        if seen is not None and seen[0] == version and isinstance(seen[1], kind):
            return seen[1]
        found = cast("O", kind.model_validate(json.loads(path.read_text())))
        self._seen[path] = (version, found)
        return found

    def _write(self, path: Path, one: Object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, one.to_json())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
