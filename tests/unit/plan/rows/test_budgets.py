"""Every budget over a study pays for each of its leases: credits first, then the period, under the cap."""

from unit.plan.scene import DAY, FIRST, GOOD, TERMS, Past, budget, leased, one, scene
from unit.plan.table import Row, table

LONG = one(ceiling="900", runtime={"lease": TERMS | {"duration": "24h"}})
"""Its shortest lease is a quarter of a day."""


def credit(amount, until="2027-03-31"):
    return {"amount": amount, "until": until}


def lease(accounts, seconds=60, amount=FIRST):
    return [f"reserve/u1/0/0/0 rung 0: {seconds} s, {amount:_} on {', '.join(['study/u1', *accounts])}"]


def pays(rule, budgets, accounts, *, study=None, **how):
    """Return the row of a first lease that holds on these accounts."""
    return Row(
        rule,
        scene(*(() if study is None else (study,)), budgets=budgets).trial(0),
        does=lease(accounts, **how),
    )


@table(
    pays("a study without a budget pays from its ceiling", [], []),
    pays("a budgets period pays with the study", [budget()], ["budget/b/2027-01"]),
    pays(
        "each budget over a study pays in the order of their names",
        [budget("z"), budget("a")],
        ["budget/a/2027-01", "budget/z/2027-01"],
    ),
    pays(
        "a cap per study pays after its budget",
        [budget(capPerStudy="5"), budget("c")],
        ["budget/b/2027-01", "budget/b/cap/u1", "budget/c/2027-01"],
    ),
    pays("a credit pays before the period", [budget(credits=[credit("4")])], ["budget/b/credit/2027-03-31"]),
    pays(
        "the credit that ends first pays first",
        [budget(credits=[credit("4"), credit("4", "2027-02-28")])],
        ["budget/b/credit/2027-02-28"],
    ),
    pays(
        "a credit without room for a lease is left to the next",
        [budget(credits=[credit("0.02")])],
        ["budget/b/2027-01"],
    ),
    pays(
        "a credit that ends before the shortest lease is left to the next",
        [budget(credits=[credit("900", "2027-01-15")], amount="900", period="Monthly")],
        ["budget/b/2027-01"],
        study=one(ceiling="900", runtime={"lease": TERMS | {"duration": "72h"}}),
        seconds=3 * DAY,
        amount=(3 * DAY + 15) * 1000,
    ),
    # 57,600 s are left of the day.
    pays(
        "a lease ends before the day of the credit that pays it does",
        [budget(credits=[credit("900", "2027-01-15")])],
        ["budget/b/credit/2027-01-15"],
        study=LONG,
        seconds=57_585,
        amount=57_600_000,
    ),
    pays(
        "a lease ends before its budgets period does",
        [budget(amount="900", period="Daily")],
        ["budget/b/2027-01-15"],
        study=LONG,
        seconds=57_585,
        amount=57_600_000,
    ),
    pays(
        "a total budget has no end",
        [budget(amount="900", period="Total")],
        ["budget/b/total"],
        study=LONG,
        seconds=DAY,
        amount=(DAY + 15) * 1000,
    ),
    pays(
        "a lease is as long as the tightest budget has room for",
        [budget(amount="0.05"), budget("c")],
        ["budget/b/2027-01", "budget/c/2027-01"],
        seconds=35,
        amount=50_000,
    ),
    pays("a weeks budget is that of the week", [budget(period="Weekly")], ["budget/b/2027-W02"]),
)
def test_a_lease_is_paid_from(row):
    row.check()


def spent(*budgets, seconds=60, **how):
    """A study whose budgets have paid this many seconds."""
    return scene(budgets=budgets, **how).trial(0, Past(seconds=seconds), rungs=[GOOD], outcome="Succeeded")


@table(
    Row(
        "a budget says what it spent, holds and offers",
        spent(budget()).trial(1, leased()),
        budgets={"b": "Ready Enforced"},
        status={
            "b.spent": "0.06",
            "b.held": "0.075",
            "b.ceiling": "10.00",
            "b.studies": 1,
            "b.period": "2027-01",
        },
    ),
    Row(
        "a budget without a study is recorded too",
        scene(budgets=[budget(selector={"matchLabels": {"team": "x"}})]),
        status={"b.spent": "0.00", "b.studies": 0},
    ),
    Row(
        "a credit counts to what a budget offers",
        spent(budget(credits=[credit("4")])),
        status={"b.ceiling": "14.00"},
    ),
    Row(
        "what a credit has paid is spent",
        spent(budget(credits=[credit("4")]), pays={"u1": ("study/u1", "budget/b/credit/2027-03-31")}),
        status={"b.spent": "0.06", "b.ceiling": "14.00"},
    ),
    Row(
        "ThresholdReached: the highest threshold that is passed is named",
        spent(budget(amount="0.12", thresholds=[20, 50, 90])),
        budgets={"b": "Ready Enforced; ThresholdReached At50Percent: 50% of 0.12 USD is spent"},
    ),
    Row(
        "a threshold that is not passed is not reached",
        spent(budget(amount="0.13", thresholds=[50])),
        budgets={"b": "Ready Enforced"},
    ),
    Row(
        "a budget that offers nothing has reached no threshold",
        scene(budgets=[budget(amount="0", thresholds=[1])]),
        budgets={
            "b": "Ready Enforced; Exhausted NoRoom: no room for another lease: 0.00 of 0.00 USD is spent"
        },
    ),
    Row(
        "Refused: a mistake of a budget is recorded on it",
        scene(budgets=[budget(credits=[credit("4", "2027-02-31")])], pays={"u1": ("study/u1",)}),
        budgets={
            "b": "not Ready Refused: spec.credits[0].until: '2027-02-31' is not a day such as 2030-12-31"
        },
    ),
    Row(
        "Exhausted: a budget without room says so on it",
        spent(budget(amount="0.08")).trial(1),
        budgets={
            "b": "Ready Enforced; Exhausted NoRoom: no room for another lease: 0.06 of 0.08 USD is spent"
        },
    ),
    Row(
        "a budget that no study needs is not exhausted",
        scene(one(suspend=True), budgets=[budget(amount="0.01")]),
        budgets={"b": "Ready Enforced"},
    ),
    Row(
        "budgets are recorded by name",
        scene(budgets=[budget("z"), budget("a")]),
        budgets={"a": "Ready Enforced", "z": "Ready Enforced"},
    ),
)
def test_a_budget_says(row):
    row.check()
