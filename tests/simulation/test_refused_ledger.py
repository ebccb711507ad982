"""A refused ledger holds its studies with a reason: nothing is launched, and leases run out."""

from dataclasses import replace

import pytest

from comptroller.ledger.anchored import RolledBack
from comptroller.ledger.audit import verify
from comptroller.ledger.chain import ForeignJournal, JournalError, NewerRelease
from comptroller.ledger.encoding import canonical, decode, digest, journal_key
from comptroller.ledger.entries import FORMAT

NAMESPACE, LONG = "team", {"rungs": {"epochs": [500]}}


def stalled(simulation, uid="0000-1"):
    conditions = simulation.cluster.studies[uid].status.conditions
    return next((c.reason, c.message) for c in conditions if c.type == "Stalled" and c.status == "True")


def step(simulation, times, operator=None):
    for _ in range(times):
        simulation.reconcile(operator)
        simulation.cluster.advance(5)


def refused(simulation, operator, error: type[JournalError], times=1):
    for _ in range(times):
        with pytest.raises(error):
            simulation.reconcile(operator)
        simulation.cluster.advance(5)


def test_a_bucket_that_was_emptied_after_a_study_does_not_pay_for_another(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study())
    simulation.run()
    simulation.cluster.advance(10)
    simulation.reconcile()
    launched = len(simulation.cluster.launches)
    simulation.store.objects.clear()
    simulation.cluster.apply(make_study(uid="0000-2"))
    operator = simulation.start_operator()
    refused(simulation, operator, RolledBack, times=20)
    assert len(simulation.cluster.launches) == launched
    assert not simulation.store.objects
    reason, message = stalled(simulation, "0000-2")
    assert reason == "LedgerRolledBack"
    assert "was deleted: the cluster published" in message
    assert "accept empty for team" in message
    published = simulation.anchor.published[NAMESPACE]
    simulation.anchor.published[NAMESPACE] = replace(published, accepted="empty")
    step(simulation, 10, operator)
    assert len(simulation.cluster.launches) > launched
    verdict = verify(simulation.store, NAMESPACE)
    assert verdict.passed
    assert verdict.books.takeover is not None
    assert verdict.books.takeover.lost == dict(published.spent)


def test_what_runs_when_a_ledger_is_rolled_back_ends_at_its_lease(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search=LONG))
    step(simulation, 10)
    assert any(job.running for job in simulation.cluster.jobs.values())
    last = max(key for key in simulation.store.objects if "/journal/" in key)
    del simulation.store.objects[last]
    operator = simulation.start_operator()
    refused(simulation, operator, RolledBack, times=200)
    assert not any(job.running for job in simulation.cluster.jobs.values())
    for job in simulation.cluster.jobs.values():
        assert job.ended is not None


def test_a_newer_batch_holds_the_namespace_and_stops_nothing(simulate, make_study):
    simulation = simulate()
    simulation.cluster.apply(make_study(search=LONG))
    step(simulation, 10)
    head = verify(simulation.store, NAMESPACE).head
    batch = decode(simulation.store.objects[journal_key(NAMESPACE, head.sequence)])
    members = batch.model_dump(mode="json") | {
        "version": FORMAT + 1,
        "sequence": head.sequence + 1,
        "previous": head.hash,
        "entries": [{"kind": "Gift"}],
    }
    body = canonical(members).encode()
    data = body[:-1] + b',"checksum":"%s"}' % digest(body).encode()
    simulation.store.create(journal_key(NAMESPACE, head.sequence + 1), data)
    refused(simulation, None, NewerRelease)
    assert all(job.stop is None for job in simulation.cluster.jobs.values())
    reason, message = stalled(simulation)
    assert reason == "LedgerNewer"
    assert (
        f"written by a newer release (format {FORMAT + 1}, this one reads up to {FORMAT}): upgrade" in message
    )


def test_two_clusters_with_one_id_make_no_tombstones_of_each_other(simulate, make_study):
    first, second = simulate(), simulate()
    first.cluster.apply(make_study())
    step(first, 4)
    assert any(job.running for job in first.cluster.jobs.values())
    # Another cluster with the same id and bucket, without the first one's Jobs.
    second.store, second.remote = first.store, first.remote
    second.anchor = type(first.anchor)("another installation")
    second.cluster.apply(make_study(uid="0000-9"))
    operator = second.start_operator()
    batches = len(first.store.objects)
    refused(second, operator, ForeignJournal, times=5)
    assert len(first.store.objects) == batches
    assert not second.cluster.launches
    assert stalled(second, "0000-9")[0] == "LedgerForeign"
    first.run()
    assert first.over
    first.check()
