"""The Job controller's events are read if a Job has no pod."""

import asyncio
from dataclasses import replace

import pytest

from comptroller.cluster.job_events import JobEvents
from comptroller.ledger.names import AttemptKey
from comptroller.world import Removed, Requested, Run

KEY = AttemptKey("u1", 1, 0)
RUN = Run(key=KEY, name="s-u1-0001-0", deadline=60, granted=60, started=10, uid="j1")
QUOTA = 'Error creating: pods "s-u1-0001-0-x" is forbidden: exceeded quota: team'


def created(job, at, pod):
    meta, involved = {"creationTimestamp": at}, {"kind": "Job", "uid": job}
    return {"metadata": meta, "involvedObject": involved, "message": f"Created pod: {pod}"}


class Reader:
    def __init__(self, *messages, created=0):
        self.reads, self.fail, self.created, self.more = [], False, created, []
        self.items = [
            {
                "metadata": {"creationTimestamp": "x"},
                "lastTimestamp": f"2026-01-01T00:00:0{n}Z",
                "message": text,
            }
            for n, text in enumerate(messages)
        ]

    async def get(self, where, **query):
        self.reads.append((where, query))
        if self.fail:
            raise OSError("down")
        made = [created(f"j{n}", f"2026-01-01T00:00:0{n}Z", f"p{n}") for n in range(self.created)]
        made += self.more
        return {"items": made if "reason=SuccessfulCreate" in query["fieldSelector"] else self.items}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def explained(events, run=RUN):
    return asyncio.run(events.explain("team", {KEY: run}))[KEY].exit.message


def test_a_job_without_a_pod_is_explained_by_its_latest_event():
    reader, clock = Reader("Error creating: old", QUOTA), Clock()
    events = JobEvents(reader, clock)
    assert explained(events) == ""
    assert not reader.reads
    clock.now = 5.0
    assert explained(events) == f"FailedCreate: {QUOTA}"
    ((where, query),) = reader.reads
    assert where == "/api/v1/namespaces/team/events"
    assert query["fieldSelector"] == (
        "involvedObject.kind=Job,involvedObject.name=s-u1-0001-0,involvedObject.uid=j1,reason=FailedCreate"
    )


def test_events_are_read_at_intervals_and_their_messages_stay():
    reader, clock = Reader(QUOTA), Clock()
    events = JobEvents(reader, clock)
    explained(events)
    for clock.now in (5.0, 6.0, 19.0):
        assert explained(events) == f"FailedCreate: {QUOTA}"
    assert len(reader.reads) == 1
    clock.now = 20.0
    explained(events)
    assert len(reader.reads) == 2


def test_a_job_that_ended_without_a_pod_is_explained_at_once_and_read_once():
    reader = Reader(QUOTA)
    events, over = JobEvents(reader, Clock()), replace(RUN, ended=40)
    assert explained(events, over) == f"FailedCreate: {QUOTA}"
    assert explained(events, over) == f"FailedCreate: {QUOTA}"
    assert len(reader.reads) == 1
    silent = Reader()
    events = JobEvents(silent, Clock())
    assert [explained(events, over) for _ in range(3)] == [""] * 3
    assert len(silent.reads) == 2  # for a refusal, and for a pod


@pytest.mark.parametrize("stop", [None, "Suspended"])
def test_a_pod_that_was_taken_away_before_it_was_seen_ran_as_long_as_its_job(stop):
    over = replace(RUN, ended=40, stop=stop)
    events = JobEvents(Reader(created=1), Clock())
    for _ in range(2):
        found = asyncio.run(events.explain("team", {KEY: over}))[KEY]
        assert (found.scheduled, found.spans, found.unseen) == (10, ((10, 40),), True)
        assert found.exit.message == ""


def test_a_job_that_was_refused_its_pod_and_then_stopped_is_not_explained():
    assert explained(JobEvents(Reader(QUOTA), Clock()), replace(RUN, ended=40, stop="Suspended")) == ""


def test_events_of_an_ended_job_are_read_again_where_they_could_not_be():
    reader = Reader(created=1)
    events, over, reader.fail = JobEvents(reader, Clock()), replace(RUN, ended=40), True
    found = asyncio.run(events.explain("team", {KEY: over}))[KEY]
    assert (found.unseen, found.unexplained) == (False, True)
    reader.fail = False
    found = asyncio.run(events.explain("team", {KEY: over}))[KEY]
    assert (found.unseen, found.unexplained) == (True, False)


def test_jobs_that_ended_are_not_explained_by_events_that_were_not_read_yet():
    runs = {
        AttemptKey("u1", n, 0): replace(RUN, key=AttemptKey("u1", n, 0), uid=f"j{n}", ended=40)
        for n in range(10)
    }
    events = JobEvents(Reader(), Clock())
    for unread in (2, 0):
        found = asyncio.run(events.explain("team", runs)).values()
        assert sum(run.unexplained for run in found) == unread


def test_the_last_job_that_had_a_name_and_a_pod_is_found_by_its_event():
    reader = Reader(created=3)
    events = JobEvents(reader)
    assert asyncio.run(events.removed("team", "s-u1-0001-0")) == Removed("j2", 1_767_225_602)
    ((_, query),) = reader.reads
    selector = "involvedObject.kind=Job,involvedObject.name=s-u1-0001-0,reason=SuccessfulCreate"
    assert query["fieldSelector"] == selector
    assert asyncio.run(JobEvents(Reader()).removed("team", "s-u1-0001-0")) is None


@pytest.mark.parametrize("uid", [None, "", 7, "x" * 200_000])
def test_an_event_that_names_no_job_as_the_api_server_would_proves_nothing(uid):
    reader = Reader(created=1)
    forged = created(uid, "2026-01-01T00:00:09Z", "p9")
    if uid is None:
        del forged["involvedObject"]["uid"]
    reader.more = [forged]
    assert asyncio.run(JobEvents(reader).removed("team", "s-u1-0001-0")) == Removed("j0", 1_767_225_600)


@pytest.mark.parametrize("stated", ["2290-01-01T00:00:00Z", "1990-01-01T00:00:00Z"])
def test_a_pod_was_made_when_the_api_server_took_its_event(stated):
    reader = Reader()
    reader.more = [created("j0", "2026-01-01T00:00:09Z", "p9") | {"lastTimestamp": stated}]
    assert asyncio.run(JobEvents(reader).removed("team", "s-u1-0001-0")) == Removed("j0", 1_767_225_609)


@pytest.mark.parametrize("pod", [{"scheduled": 12}, {"unseen": True}])
def test_a_job_that_ended_with_a_pod_costs_no_request(pod):
    reader = Reader(QUOTA)
    assert explained(JobEvents(reader, Clock()), replace(RUN, ended=40, **pod)) == ""
    assert not reader.reads


@pytest.mark.parametrize(
    "job",
    [
        {},
        {"jobless": True, "started": 1_767_225_601},
        {"created": 1_767_225_599, "started": 1_767_225_601},
    ],
    ids=["later than its Job began", "its Job is gone", "its Job was resumed"],
)
def test_a_pod_that_came_late_had_one_before_it_if_an_event_says_so(job):
    began = 1_767_225_600
    over = replace(RUN, scheduled=began + 2, ended=began + 40, first_pod=began + 1, **job)
    over = replace(over, pod_names=frozenset({"p1"}))
    found = asyncio.run(JobEvents(Reader(created=2), Clock()).explain("team", {KEY: over}))[KEY]
    assert (found.scheduled, found.unseen, found.certain) == (began, True, False)
    assert found.spans == ((began, began + 1), (began + 2, began + 40))


@pytest.mark.parametrize("late", [{"first_pod": 10}, {"first_pod": 16, "ended": None}])
def test_a_pod_that_came_at_once_or_still_runs_costs_no_request(late):
    reader = Reader(created=2)
    run = replace(RUN, **({"scheduled": 16, "ended": 40, "requested": (Requested(1000, 2**30),)} | late))
    assert asyncio.run(JobEvents(reader, Clock()).explain("team", {KEY: run}))[KEY] == run
    assert not reader.reads


def test_a_pod_that_came_late_by_itself_is_billed_as_it_is():
    made = 1_767_225_600
    names = frozenset({"p0"})
    run = replace(RUN, scheduled=made + 1, ended=made + 40, first_pod=made, pod_names=names)
    assert asyncio.run(JobEvents(Reader(created=1), Clock()).explain("team", {KEY: run}))[KEY] == run


def test_a_job_with_a_pod_costs_no_request():
    reader, clock = Reader(QUOTA), Clock()
    events = JobEvents(reader, clock)
    explained(events)
    clock.now = 5.0
    assert explained(events, replace(RUN, requested=(Requested(1000, 2**30),))) == ""
    assert not reader.reads


def test_events_that_cannot_be_read_are_no_reason_to_stop():
    reader, clock = Reader(QUOTA), Clock()
    events = JobEvents(reader, clock)
    explained(events)
    clock.now, reader.fail = 5.0, True
    assert explained(events) == ""
