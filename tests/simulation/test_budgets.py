"""Budgets: which studies they cover, and what happens when their money is used up, lowered or raised."""

from datetime import UTC, datetime

import pytest

from comptroller.ledger.balance import balance as balance_of
from comptroller_api.budget import Budget


def budget(name="b", amount="50.00", **spec):
    spec = {"amount": amount, "currency": "USD", **spec}
    return Budget.model_validate({"metadata": {"name": name}, "spec": spec})


def conditions(thing):
    return {c.type: c for c in thing.status.conditions}


def the_study(simulation):
    (study,) = simulation.cluster.studies.values()
    return study


def the_budget(simulation):
    (found,) = simulation.cluster.budgets
    return found


def step(simulation, times):
    for _ in range(times):
        simulation.reconcile()
        simulation.cluster.advance(5)


def day(simulation, after=0):
    return f"{datetime.fromtimestamp(simulation.cluster.now + after * 86400, UTC):%Y-%m-%d}"


def apply_with(simulation, study, *budgets):
    simulation.cluster.budgets = budgets
    simulation.cluster.apply(study)


def test_a_budget_tells_what_its_period_has_spent(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(amount="25.00", period="Total", thresholds=[1, 2, 90]))
    simulation.run()
    spent = simulation.check().accounts["budget/b/total"].spent
    status = the_budget(simulation).status
    assert (status.period, float(status.spent) * 1e6, status.studies) == ("total", spent, 1)
    assert 250_000 <= spent < 500_000
    assert conditions(the_budget(simulation))["ThresholdReached"].reason == "At1Percent"
    assert conditions(the_budget(simulation))["Exhausted"].status == "False"


def test_every_budget_that_covers_a_study_must_have_room(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget("large"), budget("small", "0.20"), budget("other", "0.01"))
    simulation.cluster.budgets = simulation.cluster.budgets[:2]
    step(simulation, 200)
    books = simulation.check()
    assert conditions(the_study(simulation))["Stalled"].reason == "BudgetExhausted"
    assert "small" in conditions(the_study(simulation))["Stalled"].message
    spent = {name: account.spent for name, account in books.accounts.items()}
    assert len(set(spent.values())) == 1


def test_a_budget_covers_what_its_selector_takes(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(amount="0", selector={"matchLabels": {"team": "x"}}))
    simulation.run()
    assert simulation.over
    assert the_budget(simulation).status.studies == 0


def test_credits_are_used_before_the_amount_and_only_until_their_day(simulate, make_study):
    simulation = simulate()
    given = [
        {"amount": "0.40", "until": day(simulation, 3)},
        {"amount": "0.20", "until": day(simulation)},
        {"amount": "9.00", "until": day(simulation, -1)},
    ]
    apply_with(simulation, make_study(), budget(period="Total", credits=given))
    simulation.run()
    accounts = simulation.check().accounts
    first, second = (
        accounts[f"budget/b/credit/{day(simulation)}"],
        accounts[f"budget/b/credit/{day(simulation, 3)}"],
    )
    assert f"budget/b/credit/{day(simulation, -1)}" not in accounts
    assert 0 < first.room < 120_000
    assert second.spent > 0
    assert accounts["budget/b/total"].spent + first.spent + second.spent == accounts["study/0000-1"].spent


def test_a_credit_that_has_ended_pays_nothing_more(simulate, make_study):
    simulation = simulate()
    simulation.cluster.now += 16 * 3600 - 20  # just before midnight, UTC
    last = day(simulation)
    apply_with(simulation, make_study(), budget(period="Total", credits=[{"amount": "50.00", "until": last}]))
    simulation.run()
    accounts = simulation.check().accounts
    assert accounts[f"budget/b/credit/{last}"].spent == 0
    assert accounts["budget/b/total"].spent == accounts["study/0000-1"].spent > 0


def test_an_impossible_day_is_refused_by_name(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(credits=[{"amount": "1.00", "until": "2030-02-31"}]))
    simulation.settle()
    condition = conditions(the_study(simulation))["Stalled"]
    assert condition.reason == "BudgetRefused"
    assert "spec.credits[0].until: '2030-02-31'" in condition.message
    assert conditions(the_budget(simulation))["Ready"].status == "False"


def test_one_study_cannot_have_more_of_a_budget_than_its_cap(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(capPerStudy="0.30"))
    step(simulation, 200)
    assert simulation.check().accounts["study/0000-1"].spent <= 300_000
    assert conditions(the_study(simulation))["Stalled"].reason == "BudgetExhausted"
    assert "cap" in conditions(the_study(simulation))["Stalled"].message
    apply_with(simulation, make_study(), budget(capPerStudy="30.00"))
    simulation.run()
    assert simulation.over


def test_a_ceiling_above_the_limit_waits_for_approval_of_that_much(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study("20.00"), budget(approvalAbove="5.00"))
    step(simulation, 3)
    assert conditions(the_study(simulation))["Stalled"].reason == "ApprovalRequired"
    assert simulation.cluster.jobs == {}
    study = the_study(simulation)

    def approve(amount):
        approval = {"comptroller.dev/approved": amount, "comptroller.dev/approved-by": "ana"}
        meta = study.metadata.model_copy(update={"annotations": approval})
        simulation.cluster.apply(the_study(simulation).model_copy(update={"metadata": meta}))

    approve("19.99")
    step(simulation, 3)
    assert simulation.cluster.jobs == {}
    approve("20.00")
    simulation.run()
    books = simulation.check()
    assert simulation.over
    last = books.approvals["0000-1"]
    assert (last.number, last.amount, last.approver) == (1, 20_000_000, "ana")
    lines = balance_of(simulation.store, "team").approvals
    assert [(line.amount, line.approver) for line in lines] == [(19_990_000, "ana"), (20_000_000, "ana")]


def test_a_budget_that_cancels_ends_the_study_when_it_is_exhausted(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(amount="0.20", period="Total", whenExhausted="Cancel"))
    simulation.run()
    simulation.check()
    assert conditions(the_study(simulation))["Complete"].reason == "BudgetExhausted"
    assert None not in simulation.outcomes().values()
    assert "BudgetStopped" in simulation.outcomes().values()


def test_a_budget_that_is_exhausted_says_so_until_it_is_raised(simulate, make_study):
    simulation = simulate()
    apply_with(simulation, make_study(), budget(amount="0.20", period="Total"))
    step(simulation, 200)
    assert conditions(the_budget(simulation))["Exhausted"].status == "True"
    simulation.cluster.budgets = (
        the_budget(simulation).model_copy(update={"spec": budget(amount="20.00", period="Total").spec}),
    )
    simulation.run()
    simulation.check()
    assert simulation.over
    assert "BudgetStopped" not in simulation.outcomes().values()
    assert conditions(the_budget(simulation))["Exhausted"].status == "False"


@pytest.mark.parametrize("kind", ["budget", "study"])
def test_a_ceiling_lowered_under_what_is_held_stops_the_least_valuable_and_raising_it_resumes_them(
    simulate, make_study, kind
):
    simulation = simulate()
    long = {"search": {"rungs": {"epochs": [1, 400]}, "parallel": 3}}

    def amounts(amount):
        if kind == "budget":
            simulation.cluster.budgets = (budget(amount=amount, period="Total"),)
        else:
            simulation.cluster.apply(make_study(amount, **long))

    apply_with(simulation, make_study("50.00", **long), budget(period="Total"))
    for _ in range(200):
        step(simulation, 1)
        running = [job for job in simulation.cluster.jobs.values() if job.running]
        if sum(job.assignment.rung == 1 for job in running) == 1 and len(running) == 3:
            break
    account = f"{kind}/{'b/total' if kind == 'budget' else '0000-1'}"
    books = simulation.check().accounts[account]
    amounts(f"{(books.spent + books.held - 100_000) / 1e6:.2f}")
    step(simulation, 6)
    books = simulation.check()
    stopped = [a for own in books.trials.values() for a in own if "lowered under" in a.reason]
    assert [a.rung for a in stopped] == [0]
    survivors = [job.assignment.rung for job in running if job.running]
    assert 1 in survivors
    left = books.accounts[account]
    assert left.spent + left.held <= left.requested
    amounts("100.00")
    step(simulation, 4)
    again = [a for own in simulation.check().trials.values() for a in own if a.trial == stopped[0].trial]
    assert len(again) > len([a for a in again if a.end])


@pytest.mark.parametrize("risk", [None, 25])
def test_a_study_that_declares_a_risk_begins_no_trial_that_is_not_likely_to_fit(simulate, make_study, risk):
    simulation = simulate()
    declared = {"risk": risk} if risk else {}
    simulation.cluster.apply(
        make_study("0.40", search={"trials": 30, "parallel": 1, "rungs": {"epochs": [1, 2]}, **declared})
    )
    simulation.run()
    simulation.check()
    unfinished = [
        trial.spec.number
        for trial in simulation.cluster.trials.values()
        if trial.status.outcome == "BudgetStopped" and not trial.status.rungs
    ]
    complete = conditions(the_study(simulation))["Complete"]
    assert (complete.status, complete.reason) == ("True", "CeilingReached")
    assert bool(unfinished) == (risk is None)
    assert ("with 75% probability" in complete.message) == (risk is not None)


@pytest.mark.parametrize("rollover", ["Never", "Unspent"])
def test_the_next_period_takes_over_what_this_one_left(simulate, make_study, rollover):
    simulation = simulate()
    simulation.cluster.now += 16 * 3600 - 600  # ten minutes before midnight, UTC
    today, tomorrow = day(simulation), day(simulation, 1)
    apply_with(
        simulation,
        make_study(search={"trials": 6, "rungs": {"epochs": [1, 40]}}),
        budget(amount="3.00", period="Daily", rollover=rollover),
    )
    step(simulation, 200)
    accounts = simulation.check().accounts
    first, second = accounts[f"budget/b/{today}"], accounts[f"budget/b/{tomorrow}"]
    assert 0 < first.spent < 3_000_000
    left = 3_000_000 - first.spent if rollover == "Unspent" else 0
    assert second.ceiling == 3_000_000 + left
    assert float(the_budget(simulation).status.ceiling) * 1e6 == second.ceiling
    assert first.spent + second.ceiling == (6_000_000 if left else 3_000_000 + first.spent)
