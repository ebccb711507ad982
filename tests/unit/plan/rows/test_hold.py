"""A held study says why, with the way out; nothing is launched, and what runs may run to its end."""

from comptroller.ledger.entries import Approval, Membership
from comptroller.site import SitePolicy
from comptroller.world import Exit, Refused, Unreachable
from comptroller_api.meta import APPROVED, APPROVED_BY
from unit.plan.scene import (
    FEBRUARY,
    GOOD,
    JANUARY,
    PRICED,
    TERMS,
    Past,
    budget,
    ceiling,
    leased,
    manifest,
    node_class,
    one,
    priced,
    proven,
    running,
    scene,
    searching,
)
from unit.plan.table import Row, table

UNCOVERED = (
    "Budget b requires that a budget covers each study of the namespace, and none covers this one;"
    " label the study"
)
STALE = "the price of node class 'small' in PriceList 'list' is of 2026-01-01T00:00:00Z, over its maxAge 24h"
OF_EUR = ceiling("budget/b/2027-01", "10", currency="EUR", starts=JANUARY, ends=FEBRUARY)
EUR = {
    "budgets": [budget(currency="EUR")],
    "pays": {"u1": ("study/u1",)},
    "entries": (Membership(study="u1", budget="b"),),
}
"""A budget in another currency, which has come to cover the study since its first lease."""


def held(rule, study, **how):
    """A study whose trials 1 waits for a slot, and says why that is not leased."""
    made = proven(*how.pop("studies", (one(),)), **how).trial(1)
    return Row(rule, made, does=[], study=f"Stalled {study}")


def spent(*studies, **how):
    """A study that has spent 0.07 USD on its baseline, and has a second trial."""
    return scene(*studies, **how).trial(0, Past(seconds=70), rungs=[GOOD], outcome="Succeeded").trial(1)


def unread(kind, *, newer=False, **fields):
    known = {"Budget": "b", "Trial": "s-u1-0007", "PriceList": "list"}[kind]
    return (Refused(kind, known, "x", "spec.x: unknown", newer=newer, **fields),)


@table(
    held(
        "Suspended: a study that says so is suspended",
        "Suspended: spec.suspend is true",
        studies=(one(suspend=True),),
    ),
    held(
        "NoPrice: a class without a price holds",
        "NoPrice: no PriceList prices node class 'small' in USD",
        prices=(),
    ),
    held(
        "NoPrice: a list that cannot be read is named",
        "NoPrice: no PriceList prices node class 'small' in USD; PriceList list cannot be read: spec.x:"
        " unknown",
        prices=(),
        refused=unread("PriceList"),
    ),
    held(
        "NoPrice: a rate that is not written says where to write it",
        "NoPrice: node class 'small' has no on-demand price of storageGiB: write cap.storageGiB and"
        " onDemand.storageGiB in PriceList 'list', \"0\" if it is free",
        studies=(one(runtime={"resources": {"ephemeralStorage": "9Gi"}}),),
    ),
    held("StalePrice: a price over its age holds", f"StalePrice: {STALE}", prices=(priced(maxAge="24h"),)),
    held(
        "AmbiguousPrice: two lists of one priority price nothing",
        "AmbiguousPrice: node class 'small' is priced by several lists of priority 0: a, list",
        prices=(priced(), priced("a")),
    ),
    held(
        "AmbiguousNodes: nodes that may be dearer ones hold",
        "AmbiguousNodes: pods of node class 'small' may run on nodes of 'large', whose cap is higher: give"
        " 'small' a"
        " nodeSelector that 'large' does not match, or 'large' the tolerations of its nodes' taints",
        prices=(priced(nodeClasses=[node_class(), node_class("large", cap="9.00")]),),
    ),
    held(
        "PriceAboveCap: a price above its cap holds",
        "PriceAboveCap: the on-demand price of node class 'small' is 5.00 USD for an hour of cpu, above the"
        " cap 3.60"
        " in PriceList 'list'",
        prices=(priced(nodeClasses=[node_class(cpu="5.00")]),),
    ),
)
def test_a_study_without_a_price_is_held(row):
    row.check()


@table(
    held(
        "LeaseBelowFloor: a lease under the clusters floor holds and says the floor",
        "LeaseBelowFloor: spec.runtime.lease.duration: 60s is below this cluster's floor of 2m; set it to"
        " 2m or more",
        site=SitePolicy(min_duration="2m"),
    ),
    held(
        "LeaseBelowFloor: a grace period under the floor holds",
        "LeaseBelowFloor: spec.runtime.lease.gracePeriod: 10s is below this cluster's floor of 30s; set it"
        " to 30s or"
        " more",
        site=SitePolicy(min_grace="30s"),
    ),
    held(
        "ImageNotAllowed: an image that the site does not allow holds",
        "ImageNotAllowed: spec.runtime.image: mine:1 is not an allowed trainer image; allowed: ours",
        studies=(one(runtime={"image": "mine:1"}),),
        site=SitePolicy(images=("ours",)),
    ),
    held(
        "ArtifactsInLedger: artifacts in the ledgers place hold",
        "ArtifactsInLedger: spec.artifacts.uri: s3://bucket/artifacts overlaps the ledger's s3://bucket,"
        " which the key"
        " of the artifacts could then write; name another bucket, or a prefix next to the ledger's",
        site=SitePolicy(ledger="s3://bucket"),
    ),
    held(
        "TrialRefused: a trial that cannot be read holds",
        "TrialRefused: Trial s-u1-0007 cannot be read: spec.x: unknown",
        refused=unread("Trial", study="u1", number=7),
    ),
    held(
        "WrittenByNewerRelease: a trial of a newer release holds",
        "WrittenByNewerRelease: Trial s-u1-0007 cannot be read: spec.x: unknown",
        refused=unread("Trial", study="u1", number=7, newer=True),
    ),
    held(
        "a storage that the preflight could not reach holds with its reason",
        "DataUnavailable: s3://data cannot be listed",
        unreachable={"u1": Unreachable("DataUnavailable", "s3://data cannot be listed")},
    ),
    Row(
        "a trial of another study that cannot be read holds nothing",
        proven(refused=unread("Trial", study="u9", number=7)).trial(1, running()).trial(2, running()),
        does=[],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "InternalError: a study that cannot be planned says where and stops no other",
        scene(one(meta={"creation_timestamp": None}, ceilings={"wallClock": "1h"}), one("u2")).trial(
            0, of="u2"
        ),
        does=["reserve/u2/0/0/0 rung 0: 60 s, 75_000 on study/u2"],
        study="Stalled InternalError: ValueError: study s has no creationTimestamp (...",
    ),
)
def test_a_study_is_held(row):
    row.check()


@table(
    held(
        "BudgetRefused: a budget with a mistake holds its studies",
        "BudgetRefused: Budget b: spec.timeZone: 'Mars/North' must be an IANA time zone such as 'UTC' or"
        " 'Europe/Berlin'",
        budgets=[budget(timeZone="Mars/North")],
        pays={"u1": ("study/u1",)},
        entries=(Membership(study="u1", budget="b"),),
    ),
    held(
        "BudgetRefused: a budget that cannot be read holds those that it may cover",
        "BudgetRefused: Budget b cannot be read: spec.x: unknown",
        refused=unread("Budget"),
    ),
    held(
        "WrittenByNewerRelease: a budget of a newer release holds",
        "WrittenByNewerRelease: Budget b cannot be read: spec.x: unknown",
        refused=unread("Budget", newer=True),
    ),
    Row(
        "a budget that cannot be read and selects others holds nobody else",
        proven(refused=unread("Budget", selector={"team": "other"})).trial(1, running()).trial(2, running()),
        study="Reconciling Running: trials are running",
    ),
    held(
        "CurrencyMismatch: a budget in another currency holds",
        "CurrencyMismatch: Budget b is in EUR, the study's ceiling in USD",
        **EUR,
    ),
    Row(
        "CurrencyMismatch: a budget whose account is in another currency holds and says the way out",
        scene(
            budgets=[budget()],
            declared=False,
            entries=(ceiling("study/u1", "100"), manifest("u1"), PRICED, OF_EUR),
        ),
        does=[],
        study="Stalled CurrencyMismatch: Budget b is in USD, and budget/b/2027-01 is in EUR in the books;"
        " give the budget another name",
    ),
    held(
        "ApprovalRequired: a ceiling above a budgets limit waits for approval and says how",
        "ApprovalRequired: Budget b wants approval of a ceiling above 50 USD, and this one is 100.00:"
        " comptroller approve s",
        budgets=[budget(approvalAbove="50")],
    ),
    Row(
        "an approved ceiling is not held",
        scene(
            one(meta={"annotations": {APPROVED: "100", APPROVED_BY: "ann"}}),
            budgets=[budget(approvalAbove="50")],
            entries=(Approval(study="u1", number=0, amount=100_000_000, approver="ann"),),
        ),
        does=["create u1/0: Baseline"],
    ),
    held(
        "BudgetRequired: a study that no budget covers is held where one has to",
        f"BudgetRequired: {UNCOVERED} team=vision (Budget b)",
        budgets=[budget(required=True, selector={"matchLabels": {"team": "vision"}})],
        pays={"u1": ("study/u1",)},
    ),
    # 70,000 of 90,000 are spent, and the shortest lease holds 30,000.
    Row(
        "BudgetExhausted: a study waits for a budget without room",
        spent(budgets=[budget(amount="0.09")]),
        does=[],
        study="Stalled BudgetExhausted: budget b/2027-01 has no room for a lease, which holds at least 0.03"
        " USD",
        budgets={
            "b": "Ready Enforced; Exhausted NoRoom: no room for another lease: 0.07 of 0.09 USD is spent"
        },
    ),
    Row(
        "BudgetExhausted: a cap per study holds it",
        spent(budgets=[budget(capPerStudy="0.09")]),
        does=[],
        study="Stalled BudgetExhausted: budget b/cap/u1 has no room for a lease, which holds at least 0.03"
        " USD",
    ),
    # The day ends in 57,600 s, and a quarter of three days is more.
    Row(
        "PeriodEnding: a lease that would cross the end of a period waits for the next one",
        scene(
            one(ceiling="900", runtime={"lease": TERMS | {"duration": "72h"}}),
            budgets=[budget(amount="900", period="Daily")],
        ),
        does=[],
        study="Stalled PeriodEnding: another lease would cross the end of a budget's period",
    ),
)
def test_a_budget_holds(row):
    row.check()


PULL = "ImagePullBackOff: no such image"


def in_trouble(rule, condition, **past):
    return Row(rule, proven().trial(1, Past(**past)), does=[], study=condition)


@table(
    in_trouble(
        "StorageUnavailable: a storage that an attempt could not reach holds for a while",
        "Stalled StorageUnavailable: trial 1: no s3; the next attempt is launched at 2027-01-15T08:00:10Z",
        end="Unavailable",
        reason="no s3",
        ago=10,
    ),
    in_trouble(
        "NotStarted: a pod that never began holds for a while",
        "Stalled NotStarted: trial 1: its container had not been started; the next attempt is launched at"
        " 2027-01-15T08:00:10Z",
        end="Suspended",
        reason="NotStarted: its container had not been started",
        ago=10,
    ),
    in_trouble(
        "a pod that never began holds with the word of what kept it",
        f"Stalled ImagePullBackOff: trial 1: {PULL}; the next attempt is launched at 2027-01-15T08:00:10Z",
        end="Suspended",
        reason=f"NotStarted: {PULL}",
        ago=10,
    ),
    Row(
        "one attempt finds out whether trouble is over",
        proven().trial(1, Past(end="Unavailable", ago=20)).trial(2, Past(end="Unavailable", ago=20)),
        does=["reserve/u1/1/1/0 rung 0: 60 s, 75_000 on study/u1"],
    ),
    Row(
        "trouble of one trial holds nothing while another works",
        proven(one(search=searching(parallel=3)))
        .trial(1, Past(end="Unavailable", ago=10))
        .trial(2, running(60, leases=(60, 60))),
        does=["create u1/3: Search"],
        study="Reconciling Running: trials are running",
    ),
    Row(
        "what every attempt waits for is the studys reason",
        scene().trial(0, running(10, exit=Exit(message=PULL))),
        does=[],
        study=f"Reconciling ImagePullBackOff: trial 0 has not begun: {PULL}",
        trials={0: f"Running: {PULL}"},
    ),
    # 60 s of a lease and 15 s of its enforcers have been over for 5 s.
    Row(
        "LeaseOverrun: a run that outlives its lease is named and what is done about that",
        scene(one(runtime={"lease": TERMS | {"renewal": "Never"}})).trial(0, running(80, pod_deadline=600)),
        does=["expire s-u1-0000-0"],
        study="Reconciling LeaseOverrun: attempt s-u1-0000-0 runs on after its lease, which was over at"
        " 2027-01-15T07:59:55Z: its pod's own deadline is being lowered so that the kubelet ends it, and it"
        " is billed"
        " until then",
    ),
    Row(
        "a held study names what outlives its lease too",
        scene(prices=()).trial(0, running(80, unreachable=True)),
        does=[],
        study="Stalled NoPrice: no PriceList prices node class 'small' in USD; attempt s-u1-0000-0 runs on"
        " after its"
        " lease, which was over at 2027-01-15T07:59:55Z: its node does not report, so that it is billed to"
        " the end of"
        " its lease",
    ),
)
def test_trouble_is_reported(row):
    row.check()


@table(
    Row("a held study lets what runs go on", proven(prices=()).trial(1, running()), does=[]),
    Row(
        "a held study buries what is leased and not launched",
        proven(prices=()).trial(1, leased()),
        does=["bury s-u1-0001-0 with Trial: no PriceList prices node class 'small' in USD"],
    ),
    Row(
        "a suspended study stops what runs",
        proven(one(suspend=True)).trial(1, running()).trial(2, running()),
        does=[
            "stop s-u1-0001-0 Suspended: spec.suspend is true",
            "stop s-u1-0002-0 Suspended: spec.suspend is true",
        ],
    ),
    Row(
        "a suspended study ends no trial",
        proven(one(suspend=True)).trial(1, Past(end="Suspended")),
        does=[],
        trials={1: "Suspended"},
    ),
    Row(
        "a site policy comes before a budget",
        proven(site=SitePolicy(min_duration="2m"), **EUR),
        study="Stalled LeaseBelowFloor: spec.runtime.lease.duration: 60s is below this cluster's floor of"
        " 2m; set it to"
        " 2m or more",
    ),
    Row(
        "a budget comes before suspension",
        proven(one(suspend=True), **EUR),
        study="Stalled CurrencyMismatch: Budget b is in EUR, the study's ceiling in USD",
    ),
    Row(
        "suspension comes before a price",
        proven(one(suspend=True), prices=()),
        study="Stalled Suspended: spec.suspend is true",
    ),
)
def test_what_a_held_study_does(row):
    row.check()
