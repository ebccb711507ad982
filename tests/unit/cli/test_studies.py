"""The commands for a study, each with a directory and with a cluster."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from typer.testing import Result

from comptroller.admission import admit
from comptroller.cli import tables
from comptroller.cli.ended import ended
from comptroller.cluster.local import ObjectFiles
from comptroller_api.meta import Condition, Metadata
from comptroller_api.study import FrontEntry, Study, StudyStatus
from comptroller_api.trial import Proposal, RungResult, Trial, TrialSpec, TrialStatus

HERE = Path(__file__).parent
METRICS = {"accuracy": 0.9, "artifact_bytes": 25000.0, "latency_p95_ms": 1.25}
API = "/apis/comptroller.dev/v1alpha1/namespaces/{namespace}/{plural}"
Call = Callable[..., Result]


def condition(kind: str, reason: str) -> Condition:
    return Condition(
        type=kind,
        status="True",
        reason=reason,
        message="because",
        last_transition_time="2026-01-01T00:00:00Z",
    )


def finished(kind: str = "Complete", reason: str = "TrialsDone") -> StudyStatus:
    return StudyStatus(
        progress="2/6",
        spent="1.25",
        held="0.00",
        best="1: accuracy 0.9",
        best_trial=1,
        front=[FrontEntry(trial=1, metrics={"accuracy": "0.9"}, artifact="s3://artifacts/1/model.onnx")],
        conditions=[condition(kind, reason)],
    )


def running() -> StudyStatus:
    return StudyStatus(conditions=[condition("Reconciling", "Running")])


def a_study(status: StudyStatus | None) -> Study:
    manifest = next(yaml.safe_load_all((HERE / "naps.yaml").read_text()))
    one = admit(manifest).object
    assert isinstance(one, Study)
    return one.model_copy(update={"status": status})


def a_trial(number: int, uid: str, status: TrialStatus | None) -> Trial:
    return Trial(
        metadata=Metadata(name=f"naps-{number:04d}"),
        spec=TrialSpec(
            study="naps",
            study_uid=uid,
            number=number,
            seed=0,
            parameters={"model.width": "16"},
            proposal=Proposal(phase="Search", engine="TPE"),
        ),
        status=status,
    )


def two_trials(uid: str) -> list[Trial]:
    done = TrialStatus(
        state="Ended",
        outcome="Pruned",
        reason="place 3 of 3",
        spent="0.25",
        rungs=[RungResult(rung=0, epochs=1, metrics=METRICS)],
    )
    return [a_trial(0, uid, done), a_trial(1, uid, None)]


class Place:
    """A place of a study: the words that name it, and a look at the effect of `stop`."""

    def __init__(self, words: list[object], suspended: Callable[[], bool]) -> None:
        self.words, self.suspended = words, suspended


def a_directory(tmp_path: Path, status: StudyStatus) -> Place:
    objects = ObjectFiles(tmp_path / "objects")
    study = objects.apply(a_study(None))
    objects.record(study, status)
    for trial in two_trials(study.metadata.uid):
        objects.create_trial(trial)
        if trial.status is not None:
            objects.record(trial, trial.status)

    def suspended() -> bool:
        found = objects.study("default", "naps")
        return found is not None and found.spec.suspend

    return Place(["--dir", tmp_path], suspended)


class ApiServer(BaseHTTPRequestHandler):
    """The part of an API server that the commands need."""

    objects: ClassVar[dict[str, dict[str, Any]]]
    pages: ClassVar[list[dict[str, Any]]]
    refusal: ClassVar[str] = ""
    patches: ClassVar[list[dict[str, Any]]] = []

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == API.format(namespace="team", plural="trials"):
            return self._answer(200, self.pages[1 if "continue=more" in query else 0])
        found = self.objects.get(path)
        return self._answer(404, {"message": "not found"}) if found is None else self._answer(200, found)

    def do_POST(self) -> None:
        assert self.path == "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        self._answer(201, {"status": {"userInfo": {"username": "ana@example.com"}}})

    def do_PATCH(self) -> None:
        found = self.objects.get(self.path)
        if found is None:
            return self._answer(404, {"message": "not found"})
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        if self.refusal:
            return self._answer(403, {"message": self.refusal})
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.patches.append(patch)
        found["spec"] |= patch.get("spec", {})
        found["metadata"] |= patch.get("metadata", {})
        return self._answer(200, found)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[StudyStatus], Place]]:

    class Handler(ApiServer):
        objects: ClassVar[dict[str, dict[str, Any]]] = {}
        pages: ClassVar[list[dict[str, Any]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = {"name": "it", "context": {"cluster": "it", "user": "me", "namespace": "team"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [context],
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "me", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig")
    )

    def serve(status: StudyStatus) -> Place:
        study = a_study(status)
        study = study.model_copy(update={"metadata": study.metadata.model_copy(update={"uid": "u"})})
        path = API.format(namespace="team", plural="studies") + "/naps"
        Handler.objects = {path: study.to_json()}
        first, second = two_trials("u")
        other = a_trial(7, "another", None)
        trial = API.format(namespace="team", plural="trials") + f"/{first.metadata.name}"
        Handler.objects[trial] = first.to_json()
        Handler.pages = [
            {"metadata": {"continue": "more"}, "items": [second.to_json(), other.to_json()]},
            {"metadata": {}, "items": [first.to_json()]},
        ]
        return Place([], lambda: bool(Handler.objects[path]["spec"].get("suspend")))

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["directory", "cluster"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Place]:
    def made(status: StudyStatus | None = None) -> Place:
        status = status or finished()
        if request.param == "directory":
            return a_directory(tmp_path, status)
        found: Place = request.getfixturevalue("api")(status)
        return found

    return made


def test_status_says_where_a_study_stands(call: Call, place: Callable[..., Place]) -> None:
    words = place().words
    result = call("status", "naps", *words)
    assert result.exit_code == 0, result.output
    for part in ("naps", "Complete", "2/6", "1.25", "5.00 USD", "TrialsDone: because"):
        assert part in result.output
    found = json.loads(call("status", "naps", *words, "-o", "json").stdout)
    assert found["status"]["bestTrial"] == 1


def test_trials_are_listed_by_number_with_what_was_measured(call: Call, place: Callable[..., Place]) -> None:
    words = place().words
    result = call("trials", "naps", *words)
    assert result.exit_code == 0, result.output
    for part in (
        "Pruned",
        "1/2",
        "0.9",
        "25000",
        "1.25",
        "0.25",
        "model.width=16",
        "place 3 of 3",
        "Pending",
    ):
        assert part in result.output
    found = json.loads(call("trials", "naps", *words, "-o", "json").stdout)
    assert [trial["spec"]["number"] for trial in found] == [0, 1]


def test_the_front_names_the_artifacts(call: Call, place: Callable[..., Place]) -> None:
    words = place().words
    result = call("front", "naps", *words)
    assert result.exit_code == 0, result.output
    assert "1 *" in result.output
    assert "s3://artifacts/1/model.onnx" in result.output
    found = json.loads(call("front", "naps", *words, "-o", "json").stdout)
    assert found[0]["metrics"] == {"accuracy": "0.9"}


def test_an_empty_front_is_reported(call: Call, place: Callable[..., Place]) -> None:
    words = place(StudyStatus(conditions=[condition("Reconciling", "Running")])).words
    assert "no trial has succeeded" in call("front", "naps", *words).output


@pytest.mark.parametrize(("kind", "code"), [("Complete", 0), ("Failed", 1)])
@pytest.mark.parametrize("form", ["table", "json"])
def test_watch_ends_with_the_study(
    call: Call, place: Callable[..., Place], kind: str, code: int, form: str
) -> None:
    result = call("watch", "naps", *place(finished(kind, "Over")).words, "-o", form)
    assert result.exit_code == code, result.output
    if form == "json":
        assert json.loads(result.stdout)["conditions"][0]["type"] == kind
    else:
        assert kind in result.output


def test_stop_suspends_and_resume_continues(call: Call, place: Callable[..., Place]) -> None:
    here = place(running())
    for command, suspended, sentence in (
        ("stop", True, "study naps is being suspended; its trials write checkpoints and end"),
        ("stop", True, "study naps was suspended before;"),
        ("resume", False, "study naps is resumed"),
        ("resume", False, "study naps is not suspended"),
    ):
        result = call(command, "naps", *here.words)
        assert result.exit_code == 0, result.output
        assert result.output.startswith(sentence)
        assert here.suspended() is suspended


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        ("stop", 0, "study naps is {}: there is nothing to suspend\n"),
        ("resume", 1, "study naps is {} and cannot be resumed\n"),
        ("approve", 1, "study naps is {}: there is nothing to approve\n"),
    ],
)
@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_command_on_an_ended_study_says_that_it_has_ended_and_changes_nothing(
    call: Call, place: Callable[..., Place], kind: str, command: str, code: int, sentence: str
) -> None:
    here = place(finished(kind, "Over"))
    result = call(command, "naps", *here.words)
    assert result.exit_code == code
    assert sentence.format(f"{kind} (Over: because)") in result.output
    assert not here.suspended()


def test_a_study_that_is_being_deleted_is_not_ended_a_second_time() -> None:
    study = a_study(running())
    assert ended(study) == ""
    leaving = study.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    assert ended(study.model_copy(update={"metadata": leaving})) == "is being deleted"


def test_a_raised_ceiling_counts_before_the_operator_has_looked_at_it() -> None:
    study = a_study(finished(reason="CeilingReached"))
    assert ended(study) == "is Complete (CeilingReached: because)"
    changed = study.metadata.model_copy(update={"generation": 2})
    assert ended(study.model_copy(update={"metadata": changed})) == ""


@pytest.mark.parametrize("command", ["status", "trials", "front", "watch", "stop", "resume", "approve"])
def test_an_unknown_study_is_exit_1(call: Call, place: Callable[..., Place], command: str) -> None:
    result = call(command, "none", *place().words)
    assert result.exit_code == 1
    assert "no study 'none'" in result.output


def test_a_trial_is_found_by_its_objects_name(call: Call, place: Callable[..., Place]) -> None:
    words = place().words
    unknown = call("reproduce", "naps", *words)
    assert unknown.exit_code == 1
    assert "no trial 'naps'" in unknown.output
    found = call("reproduce", "naps-0000", *words)
    assert found.exit_code == 1
    assert "trial naps-0000 has finished no rung" in found.output  # that status names no report


def test_approve_approves_the_ceiling_as_it_is_now(
    call: Call, api: Callable[[StudyStatus], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    patches: list[dict[str, Any]] = []
    monkeypatch.setattr(ApiServer, "patches", patches)
    result = call("approve", "naps", *api(running()).words)
    assert (result.exit_code, result.output) == (0, "study naps may spend up to 5.00 USD\n")
    approval = {"comptroller.dev/approved": "5.00", "comptroller.dev/approved-by": "ana@example.com"}
    assert patches == [{"metadata": {"annotations": approval}}]


def test_users_who_may_not_approve_get_the_policys_sentence(
    call: Call, api: Callable[[StudyStatus], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiServer, "refusal", "only those who have the verb 'approve'")
    result = call("approve", "naps", *api(running()).words)
    assert result.exit_code == 1
    assert "the API server refused: only those who have the verb 'approve'" in result.output


def test_in_a_directory_the_manifest_approves(call: Call, tmp_path: Path) -> None:
    result = call("approve", "naps", *a_directory(tmp_path, running()).words)
    assert result.exit_code == 1
    assert "metadata.annotations: comptroller.dev/approved: '5.00'" in result.output


def test_each_command_takes_the_same_words_for_where_a_study_is(call: Call) -> None:
    for command in ("status", "trials", "front", "watch", "stop", "resume", "approve"):
        output = call(command, "--help").output
        assert all(word in output for word in ("STUDY", "--namespace", "--dir", "--context")), command


def test_without_a_cluster_a_sentence_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(tmp_path / "nowhere")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", nowhere)
    result = call("status", "naps")
    assert result.exit_code == 1
    assert "no cluster" in result.output
    assert "--dir" in result.output


def test_misuse_is_exit_2(call: Call, tmp_path: Path) -> None:
    assert call("status").exit_code == 2
    assert call("status", "naps", "--dir", tmp_path / "none").exit_code == 2
    assert call("status", "naps", "-o", "xml").exit_code == 2


@pytest.mark.parametrize(
    ("kind", "reason", "word"),
    [
        ("Reconciling", "Running", "Running"),
        ("Stalled", "NoPrice", "Held"),
        ("Stalled", "Suspended", "Suspended"),
    ],
)
def test_states_are_words_a_person_knows(
    call: Call, tmp_path: Path, kind: str, reason: str, word: str
) -> None:
    here = a_directory(tmp_path, StudyStatus(conditions=[condition(kind, reason)]))
    assert word in call("status", "naps", *here.words).output


def test_words_from_a_pod_do_not_steer_the_terminal() -> None:
    status = finished()
    steering = status.conditions[0].model_copy(update={"message": "\x1b[2Jall is well\r\x1b]0;owned\x07"})
    study = a_study(status.model_copy(update={"conditions": [steering]}))
    assert tables.standing(study) == ("Complete", "TrialsDone: all is well")
    trial = a_trial(0, "u", TrialStatus(state="Ended", outcome="Failed", reason="\x1b[31mred\nsecond"))
    assert tables.reasons([trial]) == ["trial 0 Failed: red second"]


def test_the_version_is_printed(call: Call) -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.output.startswith("comptroller ")
