"""Declarations are in the books before anything rests on them."""

from comptroller.ledger.entries import Approval
from comptroller_api.meta import APPROVED, APPROVED_BY
from unit.plan.scene import (
    FEBRUARY,
    JANUARY,
    LEASE,
    OVERHEAD,
    PER_SECOND,
    PRICED,
    Past,
    Scene,
    budget,
    ceiling,
    ended,
    leased,
    manifest,
    one,
    proven,
    scene,
)
from unit.plan.table import Row, table

DECEMBER = JANUARY - 31 * 86_400
LABELLED = {"matchLabels": {"team": "vision"}}
KNOWN = (manifest("u1"), PRICED)
"""Return the entries of a study that the books know already, without its ceiling."""
ANN = {APPROVED: "5.00", APPROVED_BY: "ann"}


def covered(**spec):
    """A study that had its first lease on its own account only, and a budget that selects it today."""
    study = one(meta={"labels": {"team": "vision"}})
    return scene(study, budgets=[budget(selector=LABELLED, **spec)], pays={"u1": ("study/u1",)})


@table(
    Row(
        "a new study declares its ceiling and its manifest and nothing else is done",
        scene(declared=False),
        does=["ceiling/study/u1/0: 100_000_000 USD", "manifest/u1/0"],
    ),
    Row(
        "a raised ceiling is declared before anything else",
        scene(one(ceiling="7.50"), declared=False, entries=(ceiling("study/u1", "5"), *KNOWN)),
        does=["ceiling/study/u1/1: 7_500_000 USD"],
    ),
    Row(
        "a lowered ceiling is declared too",
        scene(one(ceiling="2.00"), declared=False, entries=(ceiling("study/u1", "5"), *KNOWN)),
        does=["ceiling/study/u1/1: 2_000_000 USD"],
    ),
    Row(
        "an edited spec amends the manifest",
        scene(one(meta={"generation": 2}), declared=False, entries=(ceiling("study/u1", "100"), *KNOWN)),
        does=["manifest/u1/1"],
    ),
    Row(
        "a manifest of a later generation is not amended by an older study",
        scene(declared=False, entries=(ceiling("study/u1", "100"), manifest("u1", 2), PRICED)),
        does=["create u1/0: Baseline"],
    ),
    Row(
        "an approval is booked with its approver",
        scene(one(meta={"annotations": ANN})),
        does=["approval/u1/0: 5_000_000 by ann"],
    ),
    Row(
        "an approval of another amount is the next one",
        scene(
            one(meta={"annotations": ANN}),
            entries=(Approval(study="u1", number=0, amount=4, approver="ann"),),
        ),
        does=["approval/u1/1: 5_000_000 by ann"],
    ),
    Row(
        "an approval by another person is the next one",
        scene(
            one(meta={"annotations": ANN}),
            entries=(Approval(study="u1", number=0, amount=5_000_000, approver="bob"),),
        ),
        does=["approval/u1/1: 5_000_000 by ann"],
    ),
    Row(
        "an approval that is no amount is nobodys",
        scene(one(meta={"annotations": {APPROVED: "much"}})),
        does=["create u1/0: Baseline"],
    ),
    Row(
        "a study without our finalizer is protected and nothing else is done",
        scene(one(meta={"finalizers": []})),
        does=["protect u1"],
    ),
    Row(
        "a ceiling is declared before a study is protected",
        scene(one(meta={"finalizers": []}), declared=False),
        does=["ceiling/study/u1/0: 100_000_000 USD", "manifest/u1/0"],
    ),
)
def test_a_study_declares(row):
    row.check()


@table(
    Row(
        "a budget that covers a study declares its period and its cap",
        scene(budgets=[budget(capPerStudy="3")], declared=False),
        does=[
            "ceiling/study/u1/0: 100_000_000 USD",
            "ceiling/budget/b/cap/u1/0: 3_000_000 USD",
            "ceiling/budget/b/2027-01/0: 10_000_000 USD",
            "manifest/u1/0",
        ],
    ),
    Row(
        "a budget that covers nobody declares nothing",
        scene(budgets=[budget(selector=LABELLED)], declared=False),
        does=["ceiling/study/u1/0: 100_000_000 USD", "manifest/u1/0"],
    ),
    Row(
        "a budget that covers nobody declares its period where that rolls over",
        scene(budgets=[budget(selector=LABELLED, rollover="Unspent")], declared=False),
        does=[
            "ceiling/study/u1/0: 100_000_000 USD",
            "ceiling/budget/b/2027-01/0: 10_000_000 USD",
            "manifest/u1/0",
        ],
    ),
    Row(
        "a budget with a mistake declares nothing",
        scene(budgets=[budget(timeZone="Mars/North")], declared=False),
        does=["ceiling/study/u1/0: 100_000_000 USD", "manifest/u1/0"],
    ),
    Row(
        "a credit declares an account of its own",
        scene(budgets=[budget(credits=[{"amount": "4", "until": "2027-03-31"}])], declared=False),
        does=[
            "ceiling/study/u1/0: 100_000_000 USD",
            "ceiling/budget/b/credit/2027-03-31/0: 4_000_000 USD",
            "ceiling/budget/b/2027-01/0: 10_000_000 USD",
            "manifest/u1/0",
        ],
    ),
    Row(
        "a credit whose day has passed declares nothing",
        scene(budgets=[budget(credits=[{"amount": "4", "until": "2027-01-14"}])], declared=False),
        does=[
            "ceiling/study/u1/0: 100_000_000 USD",
            "ceiling/budget/b/2027-01/0: 10_000_000 USD",
            "manifest/u1/0",
        ],
    ),
    Row(
        "a credit that is no longer listed offers nothing",
        scene(budgets=[budget()], entries=(ceiling("budget/b/credit/2027-03-31", "4"),)),
        does=["ceiling/budget/b/credit/2027-03-31/1: 0 USD"],
    ),
    # 10 s at 1,000 micro-units were paid by the credit that is gone, so the new one has 10,000 less.
    Row(
        "a credit that is moved to another day is charged with what it has spent",
        scene(
            budgets=[budget(credits=[{"amount": "4", "until": "2027-04-30"}])],
            declared=False,
            entries=(
                ceiling("study/u1", "100"),
                *KNOWN,
                ceiling("budget/b/credit/2027-03-31", "4"),
                ceiling("budget/b/2027-01", "10", starts=JANUARY, ends=FEBRUARY),
            ),
            pays={"u1": ("study/u1", "budget/b/credit/2027-03-31")},
        ).trial(0, Past()),
        does=[
            "ceiling/budget/b/credit/2027-03-31/1: 0 USD",
            "ceiling/budget/b/credit/2027-04-30/0: 4_000_000 USD",
            "transfer/budget/b/credit/2027-04-30/0: 10_000 to budget/b/credit/2027-03-31",
        ],
    ),
    Row(
        "an edited amount of a budget is declared",
        scene(
            budgets=[budget(amount="20")],
            declared=False,
            entries=(
                ceiling("study/u1", "100"),
                *KNOWN,
                ceiling("budget/b/2027-01", "10", starts=JANUARY, ends=FEBRUARY),
            ),
        ),
        does=["ceiling/budget/b/2027-01/1: 20_000_000 USD"],
    ),
    # A closed attempt of 10 s and an open one of 60 + 15 s ran in the days that both periods have.
    Row(
        "another period carries what the budget spent and holds within its days",
        scene(
            budgets=[budget(period="Total")],
            declared=False,
            entries=(
                ceiling("study/u1", "100"),
                *KNOWN,
                ceiling("budget/b/2027-01", "10", starts=JANUARY, ends=FEBRUARY),
            ),
            pays={"u1": ("study/u1", "budget/b/2027-01")},
        ).trial(0, Past(), leased()),
        does=[
            (
                "ceiling/budget/b/total/0: 10_000_000 USD,"
                f" carried {10 * PER_SECOND:_}, pending {(LEASE + OVERHEAD) * PER_SECOND:_}"
            )
        ],
    ),
    Row(
        "a budget that comes to cover a study that has run becomes its budget for good",
        covered().trial(0, leased()),
        does=["membership/u1/b"],
    ),
    Row(
        "a budget that covers a study before its first lease needs no membership",
        covered().trial(0),
        does=[f"reserve/u1/0/0/0 rung 0: 60 s, {75 * PER_SECOND:_} on study/u1, budget/b/2027-01"],
    ),
    Row(
        "what a period left is moved to the next one where it rolls over",
        scene(
            budgets=[budget(rollover="Unspent")],
            entries=(ceiling("budget/b/2026-12", "8", starts=DECEMBER, ends=JANUARY),),
        ),
        does=["transfer/budget/b/2026-12/0: 8_000_000 to budget/b/2027-01"],
    ),
    Row(
        "what a period left is lost where it does not roll over",
        scene(budgets=[budget()], entries=(ceiling("budget/b/2026-12", "8", starts=DECEMBER, ends=JANUARY),)),
        does=["create u1/0: Baseline"],
    ),
)
def test_a_budget_declares(row):
    row.check()


@table(
    Row(
        "an ended study of which nothing is left to do is not looked at",
        proven(one(status=ended("Complete", "TrialsDone"))),
        does=[],
    ),
    Row(
        "declarations go before what runs",
        scene(one(ceiling="3.00"), declared=False, entries=(ceiling("study/u1", "5"), *KNOWN)).trial(
            0, leased()
        ),
        does=["ceiling/study/u1/1: 3_000_000 USD"],
    ),
    Row("an empty namespace is as it should be", Scene(studies=()), does=[]),
)
def test_nothing_else(row):
    row.check()
