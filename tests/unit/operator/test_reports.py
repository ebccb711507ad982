"""Reports have a bounded size, count only with the pod's digest, and always fit into an object."""

import hashlib
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller import reports
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt
from comptroller.ledger.store import TooLarge
from comptroller.ledger.stores import Objects
from comptroller.plan.trials import Progress, trial_status
from comptroller.world import Unusable
from comptroller_api.contract import MAX_REPORT, Heartbeat, Report
from comptroller_api.meta import Metadata
from comptroller_api.study import Resources
from comptroller_api.trial import Proposal, RungResult, Trial, TrialSpec

PLAIN = {
    "name": "s-u-0004-0", "trial": 4, "attempt": 0, "rung": 0, "epochs": 3, "metrics": {"accuracy": 0.9},
    "seconds": 1.0,
}  # fmt: skip


def attempt(report: str | None = None, number: int = 0, reason: str = "") -> Attempt:
    return Attempt(
        "u", 4, number, f"s-u-0004-{number}", number, "cpu", "OnDemand", Resources(),
        (AccountName.of_study("u"),), end="Finished", reason=reason, report=report,
    )  # fmt: skip


class Kept:
    """`Artifacts` of one object."""

    def __init__(self, data: bytes):
        self.data = data

    def get(self, uri: str, limit: int, /) -> bytes | None:
        if uri != "uri":
            return None
        if len(self.data) > limit:
            raise TooLarge(uri)
        return self.data

    def first(self, uri: str, /) -> str | None:
        return uri


def read(data: bytes, digest: str | None = "its own", **how):
    digest = hashlib.sha256(data).hexdigest() if digest == "its own" else digest
    return reports.read(Kept(data), attempt(digest), "uri", **how)


def report_bytes(**change) -> bytes:
    return json.dumps(PLAIN | change).encode()


def test_a_report_whose_digest_the_pod_left_is_taken():
    assert read(report_bytes()) == Report.model_validate(PLAIN)


def test_a_report_that_the_pod_did_not_write_is_forged():
    """Trial 3 holds the same key, and wrote trial 4's report."""
    found = read(report_bytes(metrics={"accuracy": 1.0}), digest=hashlib.sha256(report_bytes()).hexdigest())
    assert isinstance(found, Unusable)
    assert found.why.startswith("ReportForged: ")


def test_a_report_without_a_digest_counts_only_if_the_operator_is_configured_so():
    found = read(report_bytes(), digest="")
    assert isinstance(found, Unusable)
    assert found.why.startswith("ReportUnverified: ")
    assert isinstance(read(report_bytes(), digest="", unverified=True), Report)
    # Nothing is known of an attempt that an older release closed, or whose end nobody saw.
    assert isinstance(read(report_bytes(), digest=None), Report)


def test_a_digest_does_not_make_a_report_of_another_attempt_ones_own():
    assert isinstance(read(report_bytes(trial=3)), Unusable)


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"x" * 65: 1.0}},
        {"metrics": {"\x1b[31m": 1.0}},
        {"metrics": {f"m{n}": 1.0 for n in range(65)}},
        {"metrics": {"loss": float("nan")}},
        {"metrics": {"loss": float("inf")}},
        {"metrics": {"loss": 10**400}},
        {"epochs": 10**30},
        {"epochs": 0},
        {"epochs": -1},
        {"name": "s-u-0003-0"},
        {"checkpoint": "s3://b/\x1b[2J"},
        {"environment": {"cpu": "x" * 1025}},
        {"environment": {"\N{RIGHT-TO-LEFT OVERRIDE}": "x"}},
        {"artifacts": [{"name": "m", "uri": "u\n", "sha256": "0" * 64, "size": 1}]},
        {"artifacts": [{"name": "m", "uri": "u", "sha256": "0" * 64, "size": 2**64}]},
        {"stages": [{"name": "fit", "seconds": 1.0}] * 33},
    ],
)
def test_what_is_beyond_its_bounds_is_refused_with_a_sentence(change):
    found = read(report_bytes(**change))
    assert isinstance(found, Unusable)
    assert found.why.isprintable()
    assert len(found.why) <= 512


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"name":' * 20_000, b"9" * 200_000])
def test_bytes_that_are_not_a_report_are_refused(data):
    assert isinstance(read(data), Unusable)


def test_a_report_of_63_mib_is_not_read(tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b" " * (63 * 2**20))
    tracemalloc.start()
    try:
        found = reports.read(Objects(), attempt(), f"file://{path}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(found, Unusable)
    assert str(MAX_REPORT) in found.why
    assert peak < 2 * 2**20


def test_the_status_of_the_worst_trial_fits_an_object():
    """A status that does not fit into etcd's 1.5 MiB would be written in vain, again and again."""
    rungs = {
        rung: RungResult(
            rung=rung,
            epochs=2**53,
            metrics={f"{'m' * 62}{n:02d}": -1.2345678901234567e-300 for n in range(64)},
            artifact="\N{CJK UNIFIED IDEOGRAPH-56F3}" * 1024,
            report="\N{CJK UNIFIED IDEOGRAPH-56F3}" * 1024,
        )
        for rung in range(8)
    }
    proposal = Proposal(phase="Search", engine="Random")
    spec = TrialSpec.model_construct(
        study="s", study_uid="u", number=4, seed=0, parameters={}, proposal=proposal
    )
    trial = Trial.model_construct(metadata=Metadata(name="t"), spec=spec, status=None)
    worst = [attempt(number=n, reason="\N{CJK UNIFIED IDEOGRAPH-56F3}" * 512) for n in range(1000)]
    status = trial_status(
        Progress(trial, tuple(worst), rungs, "", unread=False, near_miss=rungs[0]), None, "x" * 5000, 0
    )
    assert len(json.dumps(status.to_json(), ensure_ascii=False).encode()) < 512 * 1024


@given(st.text(max_size=80), st.floats())
def test_every_accepted_metric_fits_into_a_status(name, value):
    report = read(json.dumps(PLAIN | {"metrics": {name: value}}).encode())
    if isinstance(report, Report):
        RungResult(rung=0, epochs=report.epochs, metrics=report.metrics)
        assert name.isascii()
        assert len(name) <= 64


def test_a_heartbeat_is_small_however_much_it_says():
    plain = {"name": "n", "phase": "fit", "seconds": 1, "utilization": {"percent": 1, "source": "process"}}
    Heartbeat.model_validate(plain)
    for change in (
        {"metrics": {"x" * 1000: 1.0}},
        {"step": 10**400},
        {"phase": "\x1b[31m"},
        {"name": "n" * 254},
    ):
        with pytest.raises(ValueError, match="validation error"):
            Heartbeat.model_validate(plain | change)


def test_buckets_share_their_clients(monkeypatch):
    made = []

    def client(self, *_, **__):
        made.append(self)
        return type("Empty", (), {"get_object": lambda *_, **__: pytest.fail("not reached")})()

    monkeypatch.setattr("boto3.session.Session.client", client)
    objects = Objects()
    for number in range(80):
        with pytest.raises(pytest.fail.Exception, match="not reached"):
            objects.get(f"s3://bucket-{number}/report.json", MAX_REPORT)
    assert len(made) == 2  # one that retries, and one that does not
