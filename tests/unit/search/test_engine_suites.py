"""Random search and TPE keep the promises of `Engine`; engines that break one fail its test."""

import random
from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np
import pytest

from comptroller.search import Observation, Problem, tpe, uniform
from comptroller.search.engine import Candidate, Engine
from comptroller.search.engines import ENGINES
from comptroller.search.space import Space, centre
from comptroller.search.testing import EngineConformance


class TestRandom(EngineConformance):
    engine = staticmethod(uniform.candidates)
    learns = False


class TestTpe(EngineConformance):
    engine = staticmethod(tpe.candidates)


def test_each_engine_runs_the_suite() -> None:
    assert list(ENGINES.values()) == [TestRandom.engine, TestTpe.engine]


class Changed:
    """Random search; the broken engines differ from it in one thing."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self,
        problem: Problem,
        space: Space,
        observations: Sequence[Observation],
        seed: np.random.SeedSequence,
    ) -> Iterator[Candidate]:
        self.calls += 1
        for candidate in uniform.candidates(problem, space, observations, self.seeded(seed)):
            values = dict(candidate.parameters)
            yield Candidate(self.changed(problem, values, observations), candidate.reason)

    def seeded(self, seed: np.random.SeedSequence) -> np.random.SeedSequence:
        return seed

    def changed(
        self, problem: Problem, values: dict[str, str], observations: Sequence[Observation]
    ) -> dict[str, str]:
        del problem, observations
        return values


class IgnoresConditions(Changed):
    def changed(self, problem, values, _observations):
        return {parameter.name: centre(parameter) for parameter in problem.parameters} | values


class LeavesTheRange(Changed):
    def changed(self, _problem, values, _observations):
        return values | {name: f"{float(text):.2g}" for name, text in values.items() if name == "data.keep"}


class ForgetsTheFixedValues(Changed):
    def changed(self, _problem, values, _observations):
        return {name: text for name, text in values.items() if name != "model.family"}


class WritesFractions(Changed):
    def changed(self, _problem, values, _observations):
        return values | {name: f"{text}.0" for name, text in values.items() if name == "model.width"}


class Ends(Changed):
    def __call__(self, problem, space, observations, seed):
        return islice(super().__call__(problem, space, observations, seed), 20)


class RepeatsTheFirst(Changed):
    def changed(self, _problem, values, observations):
        return dict(observations[0].parameters) if observations else values


class DrawsFromTheClock(Changed):
    def seeded(self, _seed):
        return np.random.SeedSequence()


class IgnoresTheSeed(Changed):
    def seeded(self, _seed):
        return np.random.SeedSequence(0)


class CountsItsCalls(Changed):
    def seeded(self, seed):
        return np.random.SeedSequence([*np.atleast_1d(seed.entropy), self.calls])


class UsesTheProcessesRandomState(Changed):
    def seeded(self, _seed):
        return np.random.SeedSequence(random.randrange(2**32))


class SeedsTheProcess(Changed):
    def seeded(self, seed):
        np.random.seed(0)  # noqa: NPY002
        return seed


class ReadsTheProcessesRandomState(Changed):
    def seeded(self, _seed):
        return np.random.SeedSequence(random.getstate()[1][:3])


class WritesIntoTheHistory(Changed):
    def changed(self, _problem, values, observations):
        for observation in observations:
            observation.parameters.setdefault("model.depth", "2")
        return values


class AddsToTheHistory(Changed):
    def changed(self, _problem, values, observations):
        observations.append(Observation(99, values))
        return values


class ReadsEveryValue(Changed):
    def changed(self, _problem, values, observations):
        assert all(float(o.parameters["recipe.lr"]) > 0 for o in observations)
        return values


class TakesTheLastResult(Changed):
    def changed(self, _problem, values, observations):
        lasts = [o.rungs[-1].metrics["loss"] for o in observations if o.rungs]
        assert len(lasts) <= len(observations)
        return values


class GivesNoReason(Changed):
    def __call__(self, *arguments):
        return (Candidate(one.parameters, "") for one in super().__call__(*arguments))


class GivesALongReason(Changed):
    def __call__(self, *arguments):
        return (Candidate(one.parameters, "because " * 200) for one in super().__call__(*arguments))


class FailsWhenAllAreTried(Changed):
    def __call__(self, _problem, space, observations, seed):
        tried = {space.key(o.parameters) for o in observations}
        untried = space.unseen(np.random.default_rng(seed), tried)
        if untried is None:
            raise LookupError("nothing is left")
        return (Candidate(untried, "untried") for _ in count())


INSIDE = "test_every_candidate_lies_in_the_space_and_its_conditions_hold"
ENDLESS = "test_the_stream_has_no_end"
UNTRIED = "test_an_untried_configuration_is_among_the_first_candidates"
SEED = "test_the_same_arguments_give_the_same_candidates_and_another_seed_others"
KEPT = "test_nothing_is_kept_between_calls"
RANDOM = "test_the_seed_is_all_that_is_random"
UNCHANGED = "test_the_arguments_are_not_changed"
LEARNS = "test_results_matter_to_an_engine_that_learns_and_to_no_other"
HISTORY = "test_any_history_is_taken"
REASON = "test_a_reason_is_given_and_fits_a_trial"
ORDER = "test_proposals_do_not_depend_on_the_order_in_which_trials_are_listed"
AT_ONCE = "test_proposals_at_once_are_those_of_one_call_each"
LAST = "test_a_space_is_proposed_to_its_last_configuration_and_then_nothing"

BROKEN: list[tuple[type[Changed], str, type[Exception]]] = [
    (IgnoresConditions, INSIDE, AssertionError),
    (LeavesTheRange, INSIDE, AssertionError),
    (ForgetsTheFixedValues, INSIDE, AssertionError),
    (WritesFractions, INSIDE, ValueError),
    (Ends, ENDLESS, AssertionError),
    (RepeatsTheFirst, UNTRIED, AssertionError),
    (DrawsFromTheClock, SEED, AssertionError),
    (IgnoresTheSeed, SEED, AssertionError),
    (CountsItsCalls, KEPT, AssertionError),
    (UsesTheProcessesRandomState, RANDOM, AssertionError),
    (SeedsTheProcess, RANDOM, AssertionError),
    (ReadsTheProcessesRandomState, RANDOM, AssertionError),
    (WritesIntoTheHistory, UNCHANGED, AssertionError),
    (AddsToTheHistory, UNCHANGED, AssertionError),
    (Changed, LEARNS, AssertionError),
    (ReadsEveryValue, HISTORY, ValueError),
    (TakesTheLastResult, HISTORY, KeyError),
    (GivesNoReason, REASON, AssertionError),
    (GivesALongReason, REASON, ValueError),
    (CountsItsCalls, ORDER, AssertionError),
    (CountsItsCalls, AT_ONCE, AssertionError),
    (FailsWhenAllAreTried, LAST, LookupError),
]


@pytest.mark.parametrize(("broken", "test", "error"), BROKEN)
def test_a_broken_promise_fails_its_test(broken: type[Changed], test: str, error: type[Exception]) -> None:
    found: Engine = broken()

    class Suite(EngineConformance):
        engine = found

    with pytest.raises(error):
        getattr(Suite(), test)()


def test_each_promise_has_an_engine_that_breaks_it() -> None:
    assert {test for _, test, _ in BROKEN} == {n for n in vars(EngineConformance) if n.startswith("test_")}
