"""A study joins the budgets that select it and never leaves one that covered a lease."""

from dataclasses import replace

import pytest

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Membership
from comptroller.plan.membership import covering
from comptroller.plan.verdict import declared
from comptroller.pricing import Unpriced
from comptroller.world import Refused
from support.desk import TEAM, budget, desk, study


@pytest.mark.parametrize("labels", [{}, {"team": "y"}, {"team-": "x"}])
def test_a_study_does_not_leave_the_budget_of_its_first_lease_by_its_labels(labels):
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    assert d.spend(400)
    d.studies = (study(**labels),)
    d.declare()
    assert d.room() == 100
    assert not d.spend(101)


def test_a_study_does_not_leave_a_budget_whose_selector_is_edited():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.spend(400)
    d.declare(budget(selector={"matchLabels": {"team": "y"}}))
    assert d.room() == 100


def test_labels_decide_until_the_first_lease():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.studies = (study(),)
    d.declare()
    assert d.room() == 100_000
    d.spend(1)
    assert [b.metadata.name for b in covering(d.world, d.studies[0])] == []


def test_a_budget_that_covers_a_study_later_covers_it_in_addition_and_for_good():
    d = desk(budget(), budget("late", "50", selector=TEAM))
    d.spend(100)
    d.studies = (study(team="x"),)
    d.declare()
    assert Membership(study="s", budget="late").budget in d.books.covered["s"]
    d.studies = (study(),)
    d.declare()
    assert d.room() == 50  # though the budget never paid a lease


def test_a_study_that_is_applied_again_is_another_study():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.spend(400)
    d.studies = (study("again"),)
    d.declare()
    assert covering(d.world, d.studies[0]) == []


def test_a_budget_that_is_deleted_and_made_again_keeps_what_it_spent():
    d = desk(budget(period="Monthly"))
    d.spend(400)
    d.budgets = ()
    d.declare()
    assert d.room() > 500
    for kind in ("Monthly", "Weekly", "Daily", "Total"):
        d.declare(budget(period=kind))
        assert d.room() == 100


def test_membership_is_in_the_books_and_once():
    books = Books()
    entry = Membership(study="s", budget="b")
    assert books.apply(entry) is None
    assert books.refusal([entry]) == (entry, "budget b covers study s already")


def test_a_required_budget_holds_studies_that_none_covers_and_names_the_labels():
    unpriced = Unpriced("NoPrice", "no price")
    d = desk(budget(selector=TEAM, required=True), budget("other", selector={"matchLabels": {"a": "b"}}))
    verdict = declared(d.world, d.studies[0], unpriced, covering(d.world, d.studies[0]))
    assert (verdict.state, verdict.reason) == ("Held", "BudgetRequired")
    assert "team=x (Budget b)" in verdict.message
    assert "a=b (Budget other)" in verdict.message
    for labels in ({"team": "x"}, {"a": "b"}):
        d.studies = (study(**labels),)
        held = declared(d.world, d.studies[0], unpriced, covering(d.world, d.studies[0]))
        assert held.reason == "NoPrice"


def test_a_budget_that_cannot_be_read_holds_those_that_it_may_cover():
    unpriced = Unpriced("NoPrice", "")
    d = desk(studies=(study(team="x"),))

    def reason(selector):
        world = replace(
            d.world, refused=(Refused("Budget", "broken", "u", "spec.period", selector=selector),)
        )
        return declared(world, d.studies[0], unpriced, covering(world, d.studies[0])).reason

    assert [reason(s) for s in (None, {}, {"team": "x"}, {"team": "y"})] == [
        "BudgetRefused", "BudgetRefused", "BudgetRefused", "NoPrice",
    ]  # fmt: skip
    d.books.apply(Membership(study="s", budget="broken"))
    assert reason({"team": "y"}) == "BudgetRefused"
