"""Forecasts: their sums, the limits that they respect, and the inputs that change them."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.pricing.book import Quote
from comptroller.pricing.forecast import Case, Durations, Forecast, Limit, promoted, quantile
from comptroller.pricing.rates import HourlyRates
from comptroller.pricing.scenario import Scenario
from comptroller.search.halving import decide
from comptroller.search.problem import Observation, Problem, RungValues
from comptroller_api.study import Study
from support import manifests

SECOND = 3_600_000
"""The micro-units for an hour of a core, at which a second costs 1,000."""


def study(**changes: Any) -> Study:
    """Return a study of ten trials of 1, 3 and 9 epochs on one core, under leases of a minute."""
    base = {
        "spec.search": {"trials": 10, "parallel": 2, "rungs": {"epochs": [1, 3, 9]}},
        "spec.runtime": {
            "nodeClass": "cpu-small",
            "retries": 0,
            "lease": {"duration": "60s", "gracePeriod": "5s", "slack": "5s", "longestAttempt": "1h"},
        },
    }
    return Study.model_validate(manifests.change(manifests.valid("Study"), base | changes))


def quote(
    spread: tuple[tuple[int, int], ...] = (), cap: int = 2 * SECOND, capacity: str = "OnDemand"
) -> Quote:
    return Quote(
        "cpu-small", capacity, "USD", {}, HourlyRates(0, SECOND, 0), HourlyRates(0, cap, 0), 0, spread
    )


def foretold(
    one: Study, limit: int = 10**9, durations: Durations | None = None, price: Quote | None = None
) -> Forecast:
    return Case(one, price or quote(), [Limit("ceiling", limit)], durations).forecast()


TEN = Durations(10_000, 10_000)
"""The durations of ten seconds for an epoch."""


def test_stages_add_up_to_the_expected_cost() -> None:
    found = foretold(study(), durations=TEN)
    assert found.expected == sum(stage.expected or 0 for stage in found.stages)
    baseline, search = found.stages[:3], found.stages[3:]
    assert [(s.epochs, s.attempts, s.expected) for s in baseline] == [
        (1, 1, 10_000),
        (2, 1, 20_000),
        (6, 1, 60_000),
    ]
    assert [s.attempts for s in search] == [9, promoted(9, 3), promoted(promoted(9, 3), 3)]


def test_the_worst_case_prunes_nothing_and_pays_the_cap_and_every_retry() -> None:
    assert foretold(study(), durations=TEN).worst == 10 * 90 * 2_000
    tried_again = study(**{"spec.runtime.retries": 2})
    assert foretold(tried_again, durations=TEN).worst == 10 * (90 + 2 * 60) * 2_000


def test_without_durations_only_the_bound_of_leases_is_printed() -> None:
    found = foretold(study())
    assert found.worst == 10 * 3 * 3600 * 2_000
    assert (found.expected, found.fit_expected, found.chance, found.seconds) == (None, None, None, None)
    assert all(stage.expected is None for stage in found.stages)


def test_work_longer_than_an_attempt_may_be_is_started_again_and_pays_its_start_again() -> None:
    terms = {"spec.search.rungs.epochs": [10], "spec.search.trials": 1, "spec.search.parallel": 1}
    once = foretold(study(**terms), durations=Durations(300_000, 300_000, attempt=100))
    assert once.expected == (3000 + 100) * 1_000
    short = study(**terms, **{"spec.runtime.lease.longestAttempt": "1000s"})
    assert (
        foretold(short, durations=Durations(300_000, 300_000, attempt=100)).expected == (3000 + 400) * 1_000
    )


def test_a_lease_that_is_never_renewed_is_the_longest_attempt() -> None:
    never = study(**{"spec.runtime.lease.renewal": "Never"})
    assert foretold(never).worst == 10 * 3 * 60 * 2_000


def test_what_runs_at_once_holds_whole_leases_at_the_cap() -> None:
    assert foretold(study()).hold == 2 * (60 + 10) * 2_000


def test_a_limit_under_the_shortest_lease_lets_nothing_run() -> None:
    # The shortest lease is a quarter of the usual one, plus the grace period and the slack.
    least = (15 + 10) * 2_000
    assert foretold(study(), limit=least, durations=TEN).refusal == ""
    found = foretold(study(), limit=least - 1, durations=TEN)
    assert found.refusal == "a lease holds at least 0.05 USD, and ceiling has 0.049999"
    assert (found.fit_expected, found.fit_worst, found.chance) == (0, 0, 0)


def test_the_tightest_limit_counts() -> None:
    limits = [Limit("ceiling", 10**9), Limit("Budget team", 200_000), Limit("Budget all", 10**8)]
    found = Case(study(), quote(), limits, TEN).forecast()
    assert found.limit.name == "Budget team"
    assert found.fit_expected is not None
    assert 0 < found.fit_expected < 10


@given(st.integers(0, 3 * 10**6), st.integers(0, 3 * 10**6))
@settings(deadline=None, max_examples=30)
def test_more_money_never_pays_for_fewer_trials(one: int, other: int) -> None:
    less, more = (foretold(study(), limit, Durations(5_000, 15_000)) for limit in sorted((one, other)))
    for field in ("fit_worst", "fit_expected", "chance"):
        assert getattr(less, field) <= getattr(more, field)


# -- halving -----------------------------------------------------------------------------------------------


def gone_on(results: int, eta: int, rng: random.Random) -> int:
    """Return how many trials the search promotes, as results come in one by one."""
    spec = study(
        **{"spec.search.trials": results + 1, "spec.search.rungs": {"epochs": [1, 2], "eta": eta}}
    ).spec
    problem = Problem.from_spec(spec)
    values = {"artifact_bytes": 1.0, "latency_p95_ms": 1.0}
    seen = [Observation(0, {}, (RungValues(0, {"accuracy": 0.5, **values}),))]
    seen += [Observation(number, {}) for number in range(1, results + 1)]
    on = 0
    for number, rank in enumerate(rng.sample(range(results), results), 1):
        seen[number] = Observation(number, {}, (RungValues(0, {"accuracy": rank / results, **values}),))
        for trial, decision in decide(problem, seen).items():
            if trial and seen[trial].outcome is None:
                if decision.verdict == "Promote":
                    on += 1
                    rungs = (*seen[trial].rungs, RungValues(1, {"accuracy": 0.5, **values}))
                    seen[trial] = Observation(trial, {}, rungs, "Succeeded")
                elif decision.verdict == "Prune":
                    seen[trial] = Observation(trial, {}, seen[trial].rungs, "Pruned")
    return on


@pytest.mark.parametrize(("results", "eta"), [(2, 3), (5, 3), (12, 3), (12, 2), (30, 4)])
def test_the_forecast_promotes_as_many_as_the_search(results: int, eta: int) -> None:
    drawn = [gone_on(results, eta, random.Random(seed)) for seed in range(40)]
    assert promoted(results, eta) == pytest.approx(sum(drawn) / len(drawn), abs=1, rel=0.1)


def test_at_least_one_in_eta_is_promoted_and_at_most_all() -> None:
    for results in (0, 1, 2, 3, 7, 50, 300, 10_000):
        for eta in (2, 3, 10):
            assert results // eta <= promoted(results, eta) <= results


# -- chance ------------------------------------------------------------------------------------------------


def test_what_is_certain_fits_or_does_not() -> None:
    needed = foretold(study(), durations=TEN).expected or 0
    assert foretold(study(), 2 * needed, TEN).chance == 100
    assert foretold(study(), needed // 2, TEN).chance == 0


def test_a_range_of_durations_fits_by_the_share_that_fits() -> None:
    # Costs are proportional to durations; half of the draws are under the mean.
    mean = foretold(study(), durations=Durations(5_000, 15_000)).expected or 0
    least = (15 + 10) * 2_000 - 10_000
    assert foretold(study(), mean + least, Durations(5_000, 15_000)).chance == 50


def test_a_spread_of_prices_fits_by_the_share_that_fits_and_never_passes_the_cap() -> None:
    spread = ((0, 50), (100, 150))
    needed = foretold(study(), durations=TEN).expected or 0
    least = (15 + 10) * 2_000 - 10_000
    assert foretold(study(), needed + least, TEN, quote(spread)).chance == 50
    doubled = quote(((0, 1000), (100, 1000)))
    assert foretold(study(), 2 * needed + least, TEN, doubled).chance == 100


def test_a_hedge_takes_the_on_demand_price_where_spot_is_dear() -> None:
    hedged = study(**{"spec.runtime.capacity": "Spot", "spec.runtime.hedge": 90})
    spot, firm = quote(((0, 300), (100, 300)), cap=4 * SECOND, capacity="Spot"), quote(cap=4 * SECOND)
    needed = foretold(hedged, durations=TEN, price=spot).expected or 0
    room = [Limit("ceiling", needed * 2)]
    assert Case(hedged, spot, room, TEN).forecast().chance == 0
    assert Case(hedged, spot, room, TEN, firm).forecast().chance == 100


@pytest.mark.parametrize(
    ("at", "percent"), [(0, 80), (10, 80), (30, 90), (50, 100), (70, 120), (90, 140), (100, 140)]
)
def test_a_quantile_lies_on_the_line_between_points_and_is_flat_outside(at: int, percent: int) -> None:
    assert quantile(((10, 80), (50, 100), (90, 140)), at) == percent
    assert quantile((), at) == 100


# -- scenarios ---------------------------------------------------------------------------------------------


def under(text: str, case: Case) -> Case:
    return Scenario.parse(text).of(case)


def test_a_scenario_changes_what_it_names() -> None:
    rates = HourlyRates(1_000, 2_000, 3_000)
    base = Case(study(), Quote("c", "Spot", "USD", {}, rates, rates, 0), [], TEN, quote())
    assert under("gpu+30%", base).quote.rates == HourlyRates(1_300, 2_000, 3_000)
    assert under("cpu-10%", base).quote.rates == HourlyRates(1_000, 1_800, 3_000)
    assert under("memory+5%", base).quote.rates == HourlyRates(1_000, 2_000, 3_150)
    assert under("spot+20%", base).quote.rates == HourlyRates(1_200, 2_400, 3_600)
    assert under("ondemand+20%", base).quote.rates == rates
    assert under("price+100%", base).quote.rates == HourlyRates(2_000, 4_000, 6_000)
    changed = under("gpu+30%, duration+50%", base)
    assert changed.durations == Durations(15_000, 15_000)
    assert changed.quote.rates.gpu == 1_300
    firm = under("ondemand+50%", base).firm
    assert firm is not None
    assert firm.rates.cpu == SECOND * 3 // 2


@pytest.mark.parametrize(
    "text", ["", "gpu", "gpu30%", "gpu+30", "tpu+30%", "gpu-100%", "gpu+1000%", "gpu+3%,"]
)
def test_an_unknown_scenario_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a scenario such as"):
        Scenario.parse(text)
