"""A slot that is free is used: a trial is created, leased, launched, each once the last is durable."""

from comptroller.ledger.names import AttemptKey
from comptroller.world import Refused
from comptroller_api.pricelist import Toleration
from comptroller_api.study import Resources
from comptroller_api.trial import RungResult
from unit.plan.scene import (
    FIRST,
    GOOD,
    TERMS,
    Open,
    Past,
    budget,
    ceiling,
    leased,
    manifest,
    node_class,
    one,
    over,
    priced,
    proven,
    running,
    scene,
    searching,
)
from unit.plan.table import Row, table

LAUNCH = "launch s-u1-0000-0 rung 0: epoch 1 of 1, 60 s"
MISS = RungResult(rung=0, epochs=1, metrics=GOOD)
LABEL = {"tier": "small"}


def lease(trial, attempt=0, rung=0, accounts="study/u1"):
    return f"reserve/u1/{trial}/{attempt}/0 rung {rung}: 60 s, {FIRST:_} on {accounts}"


def create(*numbers):
    return [f"create u1/{number}: Search" for number in numbers]


@table(
    Row("a new study creates its baseline alone", scene(), does=["create u1/0: Baseline"]),
    Row("a trial is leased before it is launched", scene().trial(0), does=[lease(0)]),
    Row(
        "no trial is created that there is no room to begin",
        proven(one(ceiling="0.11", search=searching(trials=9, parallel=4))).trial(1, running()),
        does=[],
    ),
    Row(
        "as many trials are created as there is room to begin",
        proven(one(ceiling="0.12", search=searching(trials=9, parallel=4))).trial(1, running()),
        does=create(2),
    ),
    Row(
        "an attempt whose lease is durable is launched",
        scene().trial(0, leased()),
        does=[LAUNCH],
        trials={0: "Running"},
    ),
    Row(
        "a price is booked in front of the first lease",
        scene(declared=False, entries=(ceiling("study/u1", "100"), manifest("u1"))).trial(0),
        does=["price/small/USD/0: OnDemand.cpu 3_600_000, Cap.cpu 3_600_000 since -32774400", lease(0)],
    ),
    Row("the baseline runs alone until it has a result", scene().trial(0, running()), does=[]),
    Row(
        "a trial that is there waits for the baselines result", scene().trial(0, running()).trial(1), does=[]
    ),
    Row(
        "one trial runs at a time until one has a result",
        scene().trial(0, Past(end="Error"), outcome="Failed").trial(1, running()).trial(2),
        does=[],
    ),
    Row(
        "a near miss of the baseline is a result",
        scene().trial(0, Past(end="NoGain"), outcome="Infeasible", near_miss=MISS).trial(1, running()),
        does=create(2),
    ),
    Row("trials run next to each other once the baseline has a result", proven(), does=create(1, 2)),
    Row(
        "a study whose baseline was deleted is proven",
        scene().gone(0, Past()).trial(1, running()),
        does=create(2),
    ),
    Row("a slot that a trial freed is used", proven().trial(1, running()), does=create(2)),
    Row(
        "a slot that is freed in this very pass is used once the books are closed",
        proven().trial(1, running()).trial(2, over()),
        does=["settle/u1/2/0/0: 10_000", "close/u1/2/0 Finished: -; 10 s, -10 to now"],
    ),
    Row(
        "a trial that has ended frees its slot",
        proven().trial(1, running()).trial(2, Past(), rungs=[GOOD], outcome="Succeeded"),
        does=create(3),
    ),
    Row("no more trials run than slots there are", proven().trial(1, running()).trial(2, running()), does=[]),
    Row(
        "no more trials are created than there may be",
        proven(one(search=searching(trials=3, parallel=3))).trial(1, running()),
        does=create(2),
    ),
    Row(
        "the number of a deleted trial is spent", proven().gone(1, Past()).trial(2, running()), does=create(3)
    ),
    Row(
        "nothing is created while a trial cannot be read",
        proven(refused=(Refused("Trial", "s-u1-0001", "t", "no", study="u1", number=1),)),
        does=[],
    ),
    Row(
        "a trial that waits for a lease comes before a new one",
        proven().trial(1, running()).trial(2),
        does=[lease(2)],
    ),
    Row(
        "trials that wait are leased by their number",
        proven().trial(1).trial(2).trial(3),
        does=[lease(1), lease(2)],
    ),
    Row(
        "a trial that was idle is leased after those that were not",
        proven(one(runtime={"idle": {"threshold": 5, "window": "60s"}}))
        .trial(1, Past(end="Suspended", reason="Idle: x"))
        .trial(2)
        .trial(3),
        does=[lease(2), lease(3)],
    ),
    Row(
        "a trial that waits out a pause keeps its slot",
        proven().trial(1, running()).trial(2, Past(end="Unavailable", ago=10)),
        does=[],
    ),
    Row(
        "attempts are launched by the number of their trial",
        proven().trial(1, leased()).trial(2, leased()),
        does=[
            "launch s-u1-0001-0 rung 0: epoch 1 of 1, 60 s",
            "launch s-u1-0002-0 rung 0: epoch 1 of 1, 60 s",
        ],
    ),
    Row(
        "a launch need not wait for a lease of another trial",
        proven().trial(1, leased()).trial(2),
        does=[lease(2), "launch s-u1-0001-0 rung 0: epoch 1 of 1, 60 s"],
    ),
)
def test_a_slot_is_used(row):
    row.check()


@table(
    # 0.160 USD less 10 s of the baseline: 0.150 is two leases of 0.075.
    Row(
        "as many trials are created as leases fit",
        proven(one(ceiling="0.16", search=searching(trials=9, parallel=5))),
        does=create(1, 2),
    ),
    Row(
        "of trials that wait the first is leased while there is room",
        proven(one(ceiling="0.1")).trial(1).trial(2),
        does=[lease(1)],
    ),
    # 0.050 USD are 50 s: 35 s and what the enforcers take.
    Row(
        "a lease is as long as there is room for",
        scene(one(ceiling="0.05")).trial(0),
        does=["reserve/u1/0/0/0 rung 0: 35 s, 50_000 on study/u1"],
    ),
    Row(
        "the shortest lease is as long as starting and stopping",
        scene(one(ceiling="0.03")).trial(0),
        does=["reserve/u1/0/0/0 rung 0: 15 s, 30_000 on study/u1"],
    ),
    Row(
        "a lease of several pods holds for each of them",
        scene(one(runtime={"resources": {"pods": 3}})).trial(0),
        does=[f"reserve/u1/0/0/0 rung 0: 60 s, {3 * FIRST:_} on study/u1"],
    ),
    Row(
        "a lease holds for every core",
        scene(one(runtime={"resources": {"cpu": "500m"}})).trial(0),
        does=["reserve/u1/0/0/0 rung 0: 60 s, 37_500 on study/u1"],
    ),
    Row(
        "the older study has what room a budget has",
        scene(
            one("u2", meta={"creation_timestamp": "2027-01-15T08:00:01Z"}),
            one(),
            budgets=[budget(amount="0.08")],
        )
        .trial(0)
        .trial(0, of="u2"),
        does=[lease(0, accounts="study/u1, budget/b/2027-01")],
    ),
    Row(
        "studies of one moment are served by their uid",
        scene(one("u2"), one(), budgets=[budget(amount="0.08")]).trial(0).trial(0, of="u2"),
        does=[lease(0, accounts="study/u1, budget/b/2027-01")],
    ),
    Row(
        "what runs over what it holds leaves less room",
        # It ran 100 s on 75 held: 25,000 are as good as spent, so 100,000 - 75,000 - 25,000 is nothing.
        proven(one(ceiling="0.11", search=searching()))
        .trial(1, running(100, leases=(60,), silent_seconds=70))
        .trial(2),
        does=[],
    ),
)
def test_a_lease_fits(row):
    row.check()


@table(
    Row(
        "a launch names its trials place",
        scene().trial(0, leased()),
        does=[LAUNCH],
        launch={
            "assignment.artifacts": "s3://bucket/artifacts/team/s-u1/trials/0000",
            "assignment.trial": 0,
            "assignment.attempt": 0,
            "assignment.seed": 0,
            "assignment.parameters": {"model.width": "16", "model.family": "mlp"},
            "assignment.lease_seconds": 60,
            "assignment.grace_seconds": 10,
            "image": "trainer:1",
            "guarded": True,
            "resources": Resources(),
            "node_selector": {},
            "tolerations": (),
        },
    ),
    Row(
        "a launch in the pass after its lease is the first",
        scene(leased=frozenset({AttemptKey("u1", 0, 0)})).trial(0, leased()),
        does=[LAUNCH],
        launch={"first": True},
    ),
    Row(
        "a launch of an older lease may not be the first",
        scene(leased=frozenset({AttemptKey("u1", 1, 0)})).trial(0, leased()),
        does=[LAUNCH],
        launch={"first": False},
    ),
    Row(
        "a launch has the studys own image, which has no guard of ours",
        scene(one(runtime={"image": "mine:1"})).trial(0, leased()),
        launch={"image": "mine:1", "guarded": False},
    ),
    Row(
        "a launch selects the nodes that it pays for",
        scene(
            prices=(priced(nodeClasses=[node_class(nodeSelector=LABEL, tolerations=[{"key": "spot"}])]),)
        ).trial(0, leased()),
        launch={"node_selector": LABEL, "tolerations": (Toleration(key="spot"),)},
    ),
    Row(
        "a launch is of the rung that it was leased for",
        scene(one(search=searching(rungs={"epochs": [2, 6]}))).trial(0, Past(), leased(rung=1), rungs=[GOOD]),
        does=["create u1/1: Search", "launch s-u1-0000-1 rung 1: epoch 6 of 6, 60 s"],
    ),
    Row(
        "a launch of an edited study trains to its last rung",
        scene(one(search=searching(rungs={"epochs": [4]}))).trial(0, leased(rung=1)),
        does=["launch s-u1-0000-0 rung 1: epoch 4 of 4, 60 s"],
    ),
    Row(
        "a launch measures the studys latency",
        scene(one(ceilings={"latency": {"limit": "20ms"}})).trial(0, leased()),
        launch={"assignment.latency.limit": "20ms"},
    ),
)
def test_a_launch_says(row):
    row.check()


def burial(why="trials are running"):
    return [f"bury s-u1-0000-0 with Trial: {why}"]


@table(
    Row(
        "a lease of other resources is not launched",
        scene(one(runtime={"resources": {"cpu": "2"}})).trial(0, leased()),
        does=burial(),
    ),
    Row(
        "a lease of another node class is not launched",
        scene(
            one(runtime={"nodeClass": "large"}),
            prices=(priced(nodeClasses=[node_class(), node_class("large")]),),
        ).trial(0, leased()),
        does=["price/large/USD/0: OnDemand.cpu 3_600_000, Cap.cpu 3_600_000 since -32774400", *burial()],
    ),
    Row(
        "a lease under another cap is not launched",
        scene(prices=(priced(nodeClasses=[node_class(cap="4.00")]),)).trial(0, leased()),
        does=["price/small/USD/1: OnDemand.cpu 3_600_000, Cap.cpu 4_000_000 since now", *burial()],
    ),
    Row(
        "a lease that holds too little for longer enforcers is not launched",
        scene(one(runtime={"lease": TERMS | {"slack": "30s"}})).trial(0, leased()),
        does=burial(),
    ),
    Row(
        "a lease on accounts that no longer pay is not launched",
        scene(budgets=[budget()]).trial(0, leased(accounts=("study/u1",))),
        does=["membership/u1/b"],
    ),
    # The day ends in 57,600 s, and a lease of 57,590 s takes 15 s to end.
    Row(
        "a lease that would cross the end of a period is not launched",
        scene(
            one(ceiling="900", runtime={"lease": TERMS | {"duration": "24h"}}),
            budgets=[budget(amount="900", period="Daily")],
        ).trial(0, leased(leases=(57_590,))),
        does=burial(),
    ),
    Row(
        "a lease that ends within the period is launched",
        scene(
            one(ceiling="900", runtime={"lease": TERMS | {"duration": "24h"}}),
            budgets=[budget(amount="900", period="Daily")],
        ).trial(0, leased(leases=(57_585,))),
        does=["launch s-u1-0000-0 rung 0: epoch 1 of 1, 57585 s"],
    ),
    Row(
        "an attempt whose Job reached a node is never launched again",
        scene().trial(0, Open(start=20)),
        does=[],
    ),
    Row(
        "an attempt whose name another Job has is not launched and not buried",
        scene(fresh=False).trial(0, Open(run={"trial": None})),
        does=["refresh"],
    ),
    Row(
        "a run that came too late to begin is stopped",
        scene(
            one(ceiling="900", runtime={"lease": TERMS | {"duration": "24h"}}),
            budgets=[budget(amount="900", period="Daily")],
        ).trial(0, Open(leases=(57_601,), run={})),
        does=["stop s-u1-0000-0 Suspended: it came too late to begin"],
    ),
)
def test_a_lease_is_used_by_what_it_was_given_for(row):
    row.check()
