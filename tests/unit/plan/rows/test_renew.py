"""A run is given another lease at half-time, where there is room for it and something that it would buy."""

from comptroller.site import SitePolicy
from comptroller.world import Exit
from unit.plan.scene import (
    NEXT,
    TERMS,
    budget,
    node_class,
    one,
    priced,
    running,
    scene,
)
from unit.plan.table import Row, table

ANOTHER = f"reserve/u1/0/0/1 rung 0: 60 s, {NEXT:_} on study/u1"


def terms(**lease):
    return {"lease": TERMS | lease}


def half(*studies, run=None, **how):
    """A run whose first lease is half over."""
    return scene(*studies, **how).trial(0, running(30, **(run or {})))


@table(
    Row("a run is renewed at half time", half(), does=[ANOTHER]),
    Row("a run is not renewed before half time", scene().trial(0, running(29)), does=[]),
    Row(
        "a second renewal waits for the half of the last lease",
        scene().trial(0, running(89, leases=(60, 60))),
        does=[],
    ),
    Row(
        "a second renewal comes at the half of the last lease",
        scene().trial(0, running(90, leases=(60, 60))),
        does=[f"reserve/u1/0/0/2 rung 0: 60 s, {NEXT:_} on study/u1"],
    ),
    Row(
        "a renewal is of the rung that its attempt is of",
        half(run={"rung": 1}),
        does=[ANOTHER.replace("rung 0", "rung 1")],
    ),
    Row(
        "each run is renewed in the order of its trial",
        scene().trial(0, running(30)).trial(1, running(40)),
        does=[ANOTHER, f"reserve/u1/1/0/1 rung 0: 60 s, {NEXT:_} on study/u1"],
    ),
    Row(
        "a run that no lease is renewed of ends by itself", half(one(runtime=terms(renewal="Never"))), does=[]
    ),
    Row("an image without our guard has one lease", half(one(runtime={"image": "mine:1"})), does=[]),
    Row(
        "the operators own image is renewed by its name",
        half(one(runtime={"image": "trainer:1"})),
        does=[ANOTHER],
    ),
    Row(
        "an image that the site vouches for is renewed",
        half(one(runtime={"image": "mine:1"}), site=SitePolicy(guarded=("mine",))),
        does=[ANOTHER],
    ),
    Row(
        "a pod without a node is not renewed",
        half(run={"scheduled": None, "bound": 0, "start": False, "live": False}),
        does=[],
    ),
    Row("a pod whose container has not begun is not renewed", half(run={"begun": False}), does=[]),
    Row(
        "a pod that something keeps waiting is not renewed",
        half(run={"exit": Exit(message="ImagePullBackOff: none")}),
        does=[],
    ),
    Row(
        "a pod that is being evicted is not renewed",
        half(run={"exit": Exit(disruption="EvictionByEvictionAPI")}),
        does=[],
    ),
    Row(
        "a run without heartbeats is not renewed and says so",
        half(run={"silent_seconds": 61}),
        does=[],
        trials={0: "Running: no heartbeat comes from it, so its lease is not renewed"},
    ),
    Row("a run that was silent for a minute is renewed", half(run={"silent_seconds": 60}), does=[ANOTHER]),
)
def test_a_run_is_renewed(row):
    row.check()


@table(
    # 0.115 - 0.075 leaves 40 s.
    Row(
        "a renewal is as long as there is room for",
        half(one(ceiling="0.115")),
        does=["reserve/u1/0/0/1 rung 0: 40 s, 40_000 on study/u1"],
    ),
    # The shortest lease is 15 s, since starting and stopping take as long.
    Row(
        "a renewal of the shortest lease is given",
        half(one(ceiling="0.09")),
        does=["reserve/u1/0/0/1 rung 0: 15 s, 15_000 on study/u1"],
    ),
    Row("a renewal shorter than the shortest lease is not given", half(one(ceiling="0.089999")), does=[]),
    Row(
        "of two runs the first trial has what room there is",
        scene(one(ceiling="0.21")).trial(0, running(30)).trial(1, running(30)),
        does=[f"reserve/u1/0/0/1 rung 0: 60 s, {NEXT:_} on study/u1"],
    ),
    Row(
        "an attempt is not renewed beyond the longest attempt",
        half(one(runtime=terms(longestAttempt="100s"))),
        does=["reserve/u1/0/0/1 rung 0: 40 s, 40_000 on study/u1"],
    ),
    Row(
        "an attempt at the longest attempt is not renewed",
        half(one(runtime=terms(longestAttempt="60s"))),
        does=[],
    ),
    # The day ends 57,600 s from now, the attempt's lease 3,600 s from now, and 15 s are its enforcers'.
    Row(
        "a renewal ends before its budgets period does",
        scene(
            one(ceiling="900", runtime=terms(duration="24h", longestAttempt="72h")),
            budgets=[budget(amount="900", period="Daily")],
        ).trial(0, running(3600, leases=(7200,))),
        does=["reserve/u1/0/0/1 rung 0: 53985 s, 53_985_000 on study/u1, budget/b/2027-01-15"],
    ),
    Row(
        "a renewal holds on each account of its attempt",
        half(budgets=[budget(capPerStudy="5")]),
        does=[f"reserve/u1/0/0/1 rung 0: 60 s, {NEXT:_} on study/u1, budget/b/2027-01, budget/b/cap/u1"],
    ),
    Row(
        "a renewal is as long as its tightest account has room for",
        half(budgets=[budget(amount="0.1")]),
        does=["reserve/u1/0/0/1 rung 0: 25 s, 25_000 on study/u1, budget/b/2027-01"],
    ),
    Row(
        "an attempt that a new budget does not pay for is not renewed",
        half(budgets=[budget()], pays={"u1": ("study/u1",)}, entries=()),
        does=["membership/u1/b"],
    ),
    Row(
        "a run on nodes whose cap has changed continues in another attempt",
        half(prices=(priced(nodeClasses=[node_class(cap="4.00")]),)),
        does=["price/small/USD/1: OnDemand.cpu 3_600_000, Cap.cpu 4_000_000 since now"],
    ),
    Row(
        "a run is not renewed on a class that has no price any more",
        half(prices=(priced(nodeClasses=[node_class("other")]),)),
        does=[],
        study="Stalled NoPrice: no PriceList prices node class 'small' in USD",
    ),
    Row(
        "a run under a cheaper price is renewed at the cap",
        half(prices=(priced(nodeClasses=[node_class(cpu="1.80")], asOf="2027-01-15T07:59:00Z"),)),
        does=["price/small/USD/1: OnDemand.cpu 1_800_000, Cap.cpu 3_600_000 since -60", ANOTHER],
    ),
)
def test_a_renewal_fits(row):
    row.check()


@table(
    Row(
        "a deadline is raised to what the books grant before the guard is",
        scene().trial(0, running(40, leases=(60, 60), deadline=60, granted=60)),
        does=["extend s-u1-0000-0 to 120 s"],
    ),
    Row(
        "the guard is granted what the deadline has",
        scene().trial(0, running(40, leases=(60, 60), deadline=120, granted=60)),
        does=["grant s-u1-0000-0 120 s"],
    ),
    Row(
        "a run that has what the books grant is left alone",
        scene().trial(0, running(40, leases=(60, 60))),
        does=[],
    ),
    Row(
        "a deadline that somebody raised is lowered",
        scene().trial(0, running(10, deadline=600)),
        does=["extend s-u1-0000-0 to 60 s"],
    ),
    Row(
        "a grant that somebody raised is lowered at once",
        scene().trial(0, running(10, deadline=600, granted=600)),
        does=["extend s-u1-0000-0 to 60 s", "grant s-u1-0000-0 60 s"],
    ),
    Row(
        "a grant that one pod of several has too much of is lowered",
        scene().trial(0, running(10, most_granted=600)),
        does=["grant s-u1-0000-0 60 s"],
    ),
    Row(
        "pods that train together are introduced once the first has an address",
        scene().trial(0, running(10, leader="10.0.0.7")),
        does=["introduce s-u1-0000-0 to 10.0.0.7"],
    ),
    Row(
        "a held study keeps what its runs were granted",
        scene(one(), prices=()).trial(0, running(40, leases=(60, 60), deadline=60, granted=60)),
        does=["extend s-u1-0000-0 to 120 s"],
    ),
    Row("a held study renews nothing", half(prices=()), does=[]),
)
def test_a_run_has_what_was_leased(row):
    row.check()
