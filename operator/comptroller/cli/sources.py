"""Read studies from a cluster or from the directory of a `comptroller run`."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol

from comptroller_api.meta import APPROVED, APPROVED_BY, GROUP, VERSION
from comptroller_api.study import Study
from comptroller_api.trial import Trial

_PAGE = 500
_NOT_FOUND = 404
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class SourceError(Exception):
    """The study cannot be read or changed; the message says why."""


class Source(Protocol):
    """Reads studies and their trials, suspends and approves studies."""

    resumed_by: str
    """The end of a sentence: what else a person must do so that the study continues."""

    def study(self, name: str) -> Study:
        """Return one study.

        Raises:
            SourceError: the study does not exist or cannot be read.
        """
        ...

    def trials(self, study: Study) -> list[Trial]:
        """Return a study's trials, by number.

        Raises:
            SourceError: the trials cannot be read.
        """
        ...

    def trial(self, name: str) -> Trial:
        """Return one trial, by its object's name.

        Raises:
            SourceError: the trial does not exist or cannot be read.
        """
        ...

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Set `spec.suspend`.

        Raises:
            SourceError: the study does not exist or cannot be changed.
        """
        ...

    def approve(self, name: str, amount: str) -> None:
        """Approve a ceiling of up to `amount`.

        Raises:
            SourceError: the study does not exist, or this person may not approve it.
        """
        ...


class DirectorySource:
    """The directory of a `comptroller run`."""

    def __init__(self, directory: Path, namespace: str | None) -> None:
        """Read `directory`; only `suspend` writes."""
        from comptroller.cluster.local import ObjectFiles  # noqa: PLC0415  (a second of imports)

        self._directory, self._namespace = directory, namespace or "default"
        self.resumed_by = f"; `comptroller run … --dir {directory}` continues it"
        self._objects = ObjectFiles(directory.absolute() / "objects")

    def study(self, name: str) -> Study:
        """Return one study."""
        found = self._objects.study(self._namespace, name)
        return found if found is not None else self._missing("study", name)

    def trials(self, study: Study) -> list[Trial]:
        """Return a study's trials, by number."""
        return list(self._objects.trials(self._namespace, study.metadata.uid))

    def trial(self, name: str) -> Trial:
        """Return one trial."""
        found = self._objects.trial(self._namespace, name)
        return found if found is not None else self._missing("trial", name)

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Set `spec.suspend`."""
        if not self._objects.suspend(self._namespace, name, suspended=suspended):
            self._missing("study", name)

    def approve(self, name: str, amount: str) -> None:
        """Raise: on one's own machine, nobody else could approve."""
        del name
        raise SourceError(
            f"in a directory, approve in the manifest: metadata.annotations: {APPROVED}: '{amount}'"
        )

    def _missing(self, kind: str, name: str) -> NoReturn:
        raise SourceError(f"{self._directory} holds no {kind} {name!r} in namespace {self._namespace!r}")


class KubernetesSource:
    """A cluster, as kubeconfig or the pod's service account names it."""

    resumed_by = ""

    def __init__(self, namespace: str | None, context: str | None) -> None:
        """Connect.

        Raises:
            SourceError: no configuration was found.
        """
        import kubernetes  # noqa: PLC0415  (a second of imports)
        import urllib3  # noqa: PLC0415  (with it)

        config: Any = kubernetes.config  # ships no types
        default = "default"
        try:
            config.load_kube_config(context=context)
            known, current = config.list_kube_config_contexts()
            chosen = next((c for c in known if c["name"] == context), current)
            default = chosen["context"].get("namespace", default)
        except config.ConfigException as error:
            if not _SERVICE_ACCOUNT.exists():
                raise SourceError(f"no cluster: {error} Use --dir for a local run.") from error
            config.load_incluster_config()
            default = _SERVICE_ACCOUNT.read_text().strip()
        self._namespace = namespace or default
        self._api = kubernetes.client.CustomObjectsApi()
        self._refused = kubernetes.client.ApiException
        self._unreached = urllib3.exceptions.HTTPError

    def study(self, name: str) -> Study:
        """Return one study."""
        body = self._call("get_namespaced_custom_object", "studies", name)
        return Study.model_validate(body)

    def trials(self, study: Study) -> list[Trial]:
        """Return a study's trials, by number."""
        found: list[Trial] = []
        more = ""
        while True:
            body = self._call("list_namespaced_custom_object", "trials", limit=_PAGE, _continue=more)
            items = (Trial.model_validate(item) for item in body["items"])
            found += [trial for trial in items if trial.spec.study_uid == study.metadata.uid]
            more = body["metadata"].get("continue") or ""
            if not more:
                return sorted(found, key=lambda trial: trial.spec.number)

    def trial(self, name: str) -> Trial:
        """Return one trial."""
        return Trial.model_validate(self._call("get_namespaced_custom_object", "trials", name))

    def suspend(self, name: str, *, suspended: bool) -> None:
        """Set `spec.suspend`."""
        patch = {"spec": {"suspend": suspended}}
        self._call("patch_namespaced_custom_object", "studies", name, patch)

    def approve(self, name: str, amount: str) -> None:
        """Set the annotations that the admission policy guards."""
        patch = {"metadata": {"annotations": {APPROVED: amount, APPROVED_BY: self._user()}}}
        self._call("patch_namespaced_custom_object", "studies", name, patch)

    def _user(self) -> str:
        """Return the name by which the API server knows this person."""
        import kubernetes  # noqa: PLC0415  (a second of imports)

        try:
            review: Any = kubernetes.client.AuthenticationV1Api().create_self_subject_review(
                kubernetes.client.V1SelfSubjectReview()
            )
        except self._refused as error:
            raise SourceError(f"the API server refused to say who you are: {_sentence(error)}") from error
        except self._unreached as error:
            raise SourceError(f"the API server cannot be reached: {error}") from error
        return str(review.status.user_info.username)

    def _call(self, method: str, plural: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            body = getattr(self._api, method)(GROUP, VERSION, self._namespace, plural, *arguments, **options)
        except self._refused as error:
            if error.status == _NOT_FOUND and arguments:
                kind = {"studies": "study", "trials": "trial"}[plural]
                raise SourceError(f"no {kind} {arguments[0]!r} in namespace {self._namespace!r}") from error
            raise SourceError(f"the API server refused: {_sentence(error)}") from error
        except self._unreached as error:
            raise SourceError(f"the API server cannot be reached: {error}") from error
        if not isinstance(body, dict):
            raise SourceError("the API server's answer is no object")
        return body


def open_source(namespace: str | None, directory: Path | None, context: str | None) -> Source:
    """Return the source for the directory if one is named, else for the cluster.

    Raises:
        SourceError: no cluster is configured.
    """
    return DirectorySource(directory, namespace) if directory else KubernetesSource(namespace, context)


def _sentence(error: Any) -> str:
    """Return the message of an API server's refusal: that of a policy, if it has one."""
    with suppress(TypeError, ValueError, KeyError):
        return str(json.loads(error.body)["message"])
    return f"{error.status} {error.reason}"
