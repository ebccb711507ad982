"""The controller spends what `plan` forecasts."""

import pytest

from comptroller.pricing import PriceBook, Quote
from comptroller.pricing.forecast import Case, Durations, Limit
from comptroller_api.money import to_micro

NOW = 1_770_000_000
EPOCH = Durations(20_000, 40_000)
"""The durations of the simulated trainers, whose pods start at once."""


def foretold(one, prices):
    spend = one.spec.ceilings.spend
    quote = PriceBook(prices, NOW).quote("small", "OnDemand", spend.currency)
    assert isinstance(quote, Quote)
    return Case(one, quote, [Limit("ceiling", to_micro(spend.amount))], EPOCH).forecast()


def spent(books):
    return sum(attempt.spent for attempts in books.trials.values() for attempt in attempts)


@pytest.mark.parametrize("trials", [6, 18, 40])
def test_the_expected_cost_is_what_is_spent_where_there_is_money(simulate, make_study, trials):
    one = make_study("1000.00", search={"trials": trials, "parallel": 4})
    simulation = simulate()
    simulation.cluster.apply(one)
    simulation.run()
    forecast, books = foretold(one, simulation.cluster.prices), simulation.check()
    assert forecast.expected == pytest.approx(spent(books), rel=0.25)
    assert spent(books) <= forecast.worst


@pytest.mark.parametrize("ceiling", ["0.50", "1.00", "2.00"])
def test_as_many_trials_fit_as_were_forecast(simulate, make_study, ceiling):
    one = make_study(ceiling, search={"trials": 60, "parallel": 4})
    simulation = simulate()
    simulation.cluster.apply(one)
    simulation.run()
    forecast = foretold(one, simulation.cluster.prices)
    simulation.check()
    ran = sum(outcome in {"Succeeded", "Pruned"} for outcome in simulation.outcomes().values())
    assert forecast.fit_worst <= ran
    assert forecast.fit_expected == pytest.approx(ran, rel=0.25, abs=2)
