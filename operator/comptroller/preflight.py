"""Checks of a study that cost nothing, before its first lease: can its storage be reached at all?"""

from collections.abc import Callable, Iterable, Iterator

from comptroller.ledger.store import StoreError, TooLarge
from comptroller.reports import Artifacts
from comptroller.world import Unreachable, trial_prefix
from comptroller_api.contract import MAX_REPORT, report_key
from comptroller_api.study import Study

_AGAIN = 15
"""Seconds until storage that could not be reached is tried again."""
_NOT_OURS = "AccessDenied"
"""S3 answers so for an object that is not there where the operator may read objects and not list them."""
_NO_BUCKET = "NoSuchBucket"


class Preflight:
    """The known state of the storage of studies that have not begun."""

    def __init__(self, artifacts: Artifacts, clock: Callable[[], int]) -> None:
        """Read through `artifacts`; `clock` gives unix seconds."""
        self._artifacts, self._clock = artifacts, clock
        self._found: dict[tuple[str, ...], tuple[int, Unreachable | None]] = {}
        """The time and the fault of each check; by namespace, study and what the study names."""

    def due(self, namespace: str, studies: Iterable[Study]) -> bool:
        """Return whether `check` would read anything, or let go of what was wrong before a study began."""
        keys = {_key(namespace, study) for study in studies}
        begun = (key for key, (_, wrong) in self._found.items() if wrong and key[0] == namespace)
        return any(map(self._due, keys)) or not keys.issuperset(begun)

    def check(self, namespace: str, studies: Iterable[Study]) -> None:
        """Look at the storage of `studies`, all that have not begun in `namespace`; blocks.

        The operator may not be allowed to list data: then only a bucket that does not exist counts.
        """
        known = {key: value for key, value in self._found.items() if key[0] != namespace}
        for study in studies:
            key = _key(namespace, study)
            known[key] = (self._clock(), self._look(study)) if self._due(key) else self._found[key]
        self._found = known

    def found(self, namespace: str) -> dict[str, Unreachable]:
        """Return what cannot be reached, by the study's uid."""
        return {key[1]: wrong for key, (_, wrong) in self._found.items() if key[0] == namespace and wrong}

    def _due(self, key: tuple[str, ...]) -> bool:
        at, wrong = self._found.get(key, (0, None))
        return key not in self._found or (wrong is not None and self._clock() - at >= _AGAIN)

    def _look(self, study: Study) -> Unreachable | None:
        root = study.spec.artifacts.uri
        why = self._refusal(f"{trial_prefix(study, 0)}/{report_key(0)}")
        if why and _NOT_OURS not in why:
            return Unreachable(
                "ArtifactsUnavailable", f"spec.artifacts.uri: {root} cannot be read: {why}"[:512]
            )
        for uri in _data(study):
            if why := self._lacking(uri):
                return Unreachable("DataUnavailable", f"spec.data: {uri} {why}"[:512])
        return None

    def _lacking(self, uri: str) -> str:
        """Return why there are certainly no data below the prefix `uri`; empty if that is not known."""
        try:
            if self._artifacts.first(uri) is not None:
                return ""
        except StoreError as error:
            return f"cannot be read: {error}" if _NO_BUCKET in str(error) else ""
        if self._is_object(uri):
            return f"is an object; name the prefix that holds it, {uri.rstrip('/').rpartition('/')[0]}"
        return "has no objects below it, so there are no data to train on"

    def _is_object(self, uri: str) -> bool:
        try:
            return self._artifacts.get(uri, 0) is not None
        except TooLarge:
            return True
        except StoreError:
            return False

    def _refusal(self, uri: str) -> str:
        try:
            self._artifacts.get(uri, MAX_REPORT)
        except TooLarge:
            return ""
        except StoreError as error:
            return str(error)
        return ""


def _key(namespace: str, study: Study) -> tuple[str, ...]:
    return (namespace, study.metadata.uid, study.spec.artifacts.uri, *_data(study))


def _data(study: Study) -> Iterator[str]:
    data = study.spec.data
    uris = [data.uri, *(source.uri for source in data.sources or ())]
    return (uri for uri in uris if uri is not None and uri.startswith("s3://"))
