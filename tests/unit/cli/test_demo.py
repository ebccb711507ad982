"""`make demo` on an existing cluster, without a cluster: the cluster that it uses, and the keys."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo", ROOT / "hack" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for who in ("", "OPERATOR_", "TRAINER_"):
        monkeypatch.setenv(f"{who}AWS_ACCESS_KEY_ID", f"{who}access")
        monkeypatch.setenv(f"{who}AWS_SECRET_ACCESS_KEY", f"{who}secret")
    return module


STUDY = """{
  "spec": {"ceilings": {"spend": {"amount": "2", "currency": "USD"}}},
  "status": {"spent": "1", "conditions": [{"type": "Complete", "reason": "TrialsDone", "message": ""}]}
}"""


def test_every_command_names_the_requested_cluster(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*words: str | Path, **_: object) -> str:
        ran.append(tuple(map(str, words)))
        return STUDY

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setenv("CONTEXT", "theirs")
    demo.show()
    others = [words for words in ran if "ledger" not in words]
    assert len(others) == 4
    for words in others:
        assert words[words.index("--context") + 1] == "theirs", words


def test_trainers_and_the_operator_have_different_keys(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets: dict[str, dict[str, str]] = {}

    def apply(manifest: dict[str, Any]) -> None:
        if manifest["kind"] == "Secret":
            secrets[manifest["metadata"]["namespace"]] = manifest["stringData"]

    monkeypatch.setattr(demo, "apply", apply)
    demo.credentials(demo.SYSTEM, "OPERATOR")
    demo.credentials(demo.NAMESPACE, "TRAINER")
    assert secrets[demo.SYSTEM]["AWS_ACCESS_KEY_ID"] == "OPERATOR_access"
    assert secrets[demo.NAMESPACE]["AWS_ACCESS_KEY_ID"] == "TRAINER_access"


class Bucket:
    """An object store that refuses all except some calls."""

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = allowed
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Callable[..., dict[str, str]]:
        def call(**options: str) -> dict[str, str]:
            self.calls.append((name, options["Bucket"]))
            if name not in self.allowed:
                raise ClientError({"Error": {"Code": "AccessDenied"}}, name)
            return {}

        return call


def test_a_trainers_keys_are_tried_on_the_ledger(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Bucket(allowed=set())
    given: list[dict[str, str]] = []

    def client(_: str, **keys: str) -> Bucket:
        given.append(keys)
        return store

    monkeypatch.setattr(demo.boto3, "client", client)
    demo.try_to_forge()
    assert given == [{"aws_access_key_id": "TRAINER_access", "aws_secret_access_key": "TRAINER_secret"}]
    assert store.calls == [
        (call, demo.LEDGER) for call in ("put_object", "get_object", "list_objects_v2", "delete_object")
    ]


@pytest.mark.parametrize("call", ["put_object", "get_object", "list_objects_v2", "delete_object"])
def test_the_demo_fails_where_they_open_it(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(demo.boto3, "client", lambda _, **__: Bucket({call}))
    with pytest.raises(SystemExit, match="a trainer's keys can"):
        demo.try_to_forge()
