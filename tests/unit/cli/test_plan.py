"""`comptroller plan` as a user or a pipeline calls it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from comptroller.cli import app
from support import manifests

Call = Callable[..., Result]
KNOWN = ("--seconds-per-epoch", "10", "--seconds-per-attempt", "5")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes manifests, each the valid one of its kind with fields changed."""

    def file(name: str, **kinds: dict[str, Any]) -> Path:
        path = tmp_path / f"{name}.yaml"
        found = [manifests.change(manifests.valid(kind), fields) for kind, fields in kinds.items()]
        path.write_text("\n---\n".join(map(json.dumps, found)))
        return path

    return file


FRESH = {"spec.asOf": f"{datetime.now(UTC) - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"}


@pytest.fixture
def both(write: Callable[..., Path]) -> Path:
    return write("both", Study={}, PriceList=FRESH)


def read(result: Result) -> dict[str, Any]:
    assert result.exit_code in {0, 1}, result.output
    [found] = json.loads(result.stdout)
    return found  # type: ignore[no-any-return]


def test_a_plan_says_what_it_costs_and_how_many_trials_fit(call: Call, both: Path) -> None:
    result = call("plan", both, *KNOWN)
    assert result.exit_code == 0, result.output
    for part in (
        "study digits",
        "20 trials, 4 at once, on cpu-small (OnDemand)",
        "5.00 USD: the study's ceiling",
    ):
        assert part in result.output
    found = read(call("plan", both, *KNOWN, "-o", "json"))
    assert found["fits"] is True
    assert found["forecast"]["trialsThatFit"] == 20
    assert found["forecast"]["percentThatAllFit"] == 100
    assert [stage["phase"] for stage in found["stages"]] == ["Baseline"] * 3 + ["Search"] * 3


def test_without_durations_nothing_is_guessed(call: Call, both: Path) -> None:
    result = call("plan", both)
    assert result.exit_code == 0, result.output
    assert "need --seconds-per-epoch; it is not guessed" in result.output
    found = read(call("plan", both, "-o", "json"))["forecast"]
    assert (found["expected"], found["trialsThatFit"], found["percentThatAllFit"]) == (None, None, None)
    assert found["worst"] == "5.00"


def test_prices_and_budgets_may_be_in_other_files(call: Call, write: Callable[..., Path]) -> None:
    study, prices = write("study", Study={}), write("prices", PriceList=FRESH)
    budget = write(
        "budgets", Budget={"spec.amount": "1.00", "spec.credits": [{"amount": "0.5", "until": "2099-01-01"}]}
    )
    found = read(call("plan", study, "--prices", prices, "--budgets", budget, *KNOWN, "-o", "json"))
    assert found["forecast"]["limit"] == {"name": "Budget team", "amount": "1.50"}
    assert any("one whole period" in note for note in found["notes"])


def test_a_budget_of_other_studies_does_not_count(call: Call, write: Callable[..., Path]) -> None:
    others = {"spec.amount": "0.01", "spec.selector": {"matchLabels": {"team": "other"}}}
    files = write("all", Study={}, PriceList=FRESH, Budget=others)
    assert read(call("plan", files, "-o", "json"))["forecast"]["limit"]["name"] == "the study's ceiling"
    elsewhere = write(
        "ns", Study={}, PriceList=FRESH, Budget={"spec.amount": "0.01", "metadata.namespace": "b"}
    )
    assert read(call("plan", elsewhere, "-o", "json"))["forecast"]["limit"]["name"] == "the study's ceiling"


def test_a_cap_per_study_counts(call: Call, write: Callable[..., Path]) -> None:
    files = write("all", Study={}, PriceList=FRESH, Budget={"spec.capPerStudy": "2.00"})
    found = read(call("plan", files, "-o", "json"))
    assert found["forecast"]["limit"] == {"name": "Budget team (capPerStudy)", "amount": "2.00"}


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        ({"Study": {}}, "NoPrice: no PriceList prices node class 'cpu-small' in USD"),
        (
            {"Study": {}, "PriceList": {"spec.asOf": "2020-01-01T00:00:00Z"}},
            "StalePrice: the price of node class 'cpu-small' in PriceList 'prices' is of 2020-01-01",
        ),
        (
            {"Study": {}, "PriceList": FRESH, "Budget": {"spec.currency": "EUR"}},
            "CurrencyMismatch: Budget team is in EUR, the study's ceiling in USD",
        ),
        (
            {"Study": {"spec.ceilings.spend.amount": "0.0001"}, "PriceList": FRESH},
            "a lease holds at least 0.0039 USD, and the study's ceiling has 0.0001",
        ),
        (
            {
                "Study": {"spec.runtime.resources": {"gpu": 1, "gpuResource": "nvidia.com/mig-1g.10gb"}},
                "PriceList": FRESH,
            },
            "NoPrice: node class 'cpu-small' has no on-demand price of nvidia.com/mig-1g.10gb",
        ),
    ],
)
def test_what_could_not_run_is_exit_1_with_why(
    call: Call, write: Callable[..., Path], kinds: dict[str, Any], why: str
) -> None:
    path = write("one", **kinds)
    for form in ((), ("--markdown",)):
        result = call("plan", path, *KNOWN, *form)
        assert result.exit_code == 1, result.output
        assert why in result.output
    assert why in read(call("plan", path, *KNOWN, "-o", "json"))["refusal"]


def test_money_for_no_trial_is_exit_1(call: Call, write: Callable[..., Path]) -> None:
    path = write("one", Study={"spec.ceilings.spend.amount": "0.01"}, PriceList=FRESH)
    result = call("plan", path, "--seconds-per-epoch", "3000")
    assert result.exit_code == 1
    assert "0 of 20" in result.output


def test_a_needed_approval_is_reported_and_not_refused(call: Call, write: Callable[..., Path]) -> None:
    path = write("one", Study={}, PriceList=FRESH, Budget={"spec.approvalAbove": "1.00"})
    result = call("plan", path)
    assert result.exit_code == 0, result.output
    assert "ApprovalRequired" in result.output
    assert "comptroller approve digits" in result.output


def test_a_refused_manifest_is_exit_1_with_the_servers_sentence(
    call: Call, write: Callable[..., Path]
) -> None:
    result = call("plan", write("bad", Study={"spec.search.parallel": 21}, PriceList=FRESH))
    assert result.exit_code == 1
    assert "Study digits: spec.search.parallel" in result.output
    assert "parallel must not be more than trials" in result.output


def test_scenarios_are_printed_one_by_one(call: Call, both: Path) -> None:
    words = ("--scenario", "cpu+10%", "--scenario", "cpu+30%", "--scenario", "duration+50%,price-10%")
    found = read(call("plan", both, *KNOWN, *words, "-o", "json"))
    base = found["forecast"]
    cheap, held, slow = found["scenarios"]
    assert (cheap["scenario"], cheap["refusal"]) == ("cpu+10%", None)
    assert float(base["expected"]) < float(cheap["expected"]) < float(slow["expected"])
    assert cheap["worst"] == base["worst"]
    assert held["refusal"] == "cpu 0.065 is above its cap 0.06: nothing is launched"
    assert "nothing is launched" in call("plan", both, *KNOWN, *words).output


def test_markdown_is_for_a_review_comment(call: Call, both: Path) -> None:
    text = call("plan", both, *KNOWN, "--markdown", "--scenario", "cpu+10%").stdout
    assert text.startswith("### Plan of study `digits`\n")
    tables = [line for line in text.splitlines() if line.startswith("| ---")]
    assert len(tables) == 3
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in rows)
    assert "| cpu+10% |" in text


def test_a_spread_and_a_range_make_a_probability(call: Call, write: Callable[..., Path]) -> None:
    spot = {
        **FRESH,
        "spec.nodeClasses[0].spotQuantiles": [{"at": 10, "percent": 60}, {"at": 90, "percent": 250}],
    }
    path = write(
        "one", Study={"spec.runtime.capacity": "Spot", "spec.ceilings.spend.amount": "0.03"}, PriceList=spot
    )
    found = read(call("plan", path, "--seconds-per-epoch", "20-60", "-o", "json"))
    assert 0 < found["forecast"]["percentThatAllFit"] < 100
    assert any("200 prices by their quantiles" in note for note in found["notes"])
    # The same input gives the same output.
    assert read(call("plan", path, "--seconds-per-epoch", "20-60", "-o", "json")) == found


def test_a_hedge_that_holds_today_uses_on_demand_capacity(call: Call, write: Callable[..., Path]) -> None:
    path = write("one", Study={"spec.runtime.capacity": "Spot", "spec.runtime.hedge": 30}, PriceList=FRESH)
    result = call("plan", path, *KNOWN)
    assert "its hedge goes on-demand" in result.output
    assert "on cpu-small (OnDemand)" in result.output


def test_a_list_with_a_feed_is_planned_with_its_declared_prices(
    call: Call, write: Callable[..., Path]
) -> None:
    fed = {
        "spec.source": "AWS",
        "spec.asOf": None,
        "spec.aws": {"region": "us-east-1"},
        "spec.nodeClasses[0].instanceType": "m7i.large",
    }
    result = call("plan", write("one", Study={}, PriceList=fed), *KNOWN)
    assert result.exit_code == 0, result.output
    assert "PriceList prices takes its prices from AWS, which plan does not ask" in " ".join(
        result.output.split()
    )


def test_without_its_feed_a_list_is_planned_at_its_cap(call: Call, write: Callable[..., Path]) -> None:
    fed = {
        "spec.source": "AWS",
        "spec.asOf": None,
        "spec.aws": {"region": "us-east-1"},
        "spec.nodeClasses[0].instanceType": "m7i.large",
        "spec.nodeClasses[0].onDemand": None,
        "spec.nodeClasses[0].spot": None,
    }
    at_cap = {**FRESH, "spec.nodeClasses[0].onDemand": {"cpu": "0.06", "memoryGiB": "0.006"}}
    found, same = (
        read(call("plan", write(f"{number}", Study={}, PriceList=one), *KNOWN, "-o", "json"))
        for number, one in enumerate((fed, at_cap))
    )
    assert found["forecast"] == same["forecast"]
    assert found["forecast"]["worst"] is not None
    assert any("its cap, which is the worst case" in note for note in found["notes"])
    spot = write("spot", Study={"spec.runtime.capacity": "Spot"}, PriceList=fed)
    assert "has no spot price" in call("plan", spot, *KNOWN).output


@pytest.mark.parametrize("command", ["plan", "lint"])
def test_what_a_list_does_not_price_is_refused(call: Call, write: Callable[..., Path], command: str) -> None:
    both = write("both", Study={"spec.runtime.resources.gpu": 8}, PriceList=FRESH)
    result = call(command, both)
    assert result.exit_code == 1
    output = " ".join(result.output.split())
    assert "NoPrice: node class 'cpu-small' has no on-demand price of gpu: write cap.gpu" in output


def test_what_the_trainer_would_refuse_is_refused(call: Call, write: Callable[..., Path]) -> None:
    slip = {"spec.baseline['recipe.epochs']": "3"}
    result = call("plan", write("slip", Study=slip, PriceList=FRESH))
    assert result.exit_code == 1
    assert 'spec.baseline[recipe.epochs]: Invalid value: "recipe.epochs": is not a parameter' in result.output
    assert call("plan", write("slip", Study=slip, PriceList=FRESH), "--trainer", "none").exit_code == 0
    other = slip | {"spec.runtime.image": "example.com/mine:1"}
    found = read(call("plan", write("other", Study=other, PriceList=FRESH), "-o", "json"))
    assert any("the project's own trainer would refuse it" in note for note in found["notes"])


def test_standard_input_is_read(both: Path) -> None:
    assert CliRunner().invoke(app, ["plan", "-", *KNOWN], input=both.read_text()).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--seconds-per-epoch", "fast"),
        ("--seconds-per-epoch", "0"),
        ("--seconds-per-epoch", "60-20"),
        ("--seconds-per-epoch", "NaN"),
        ("--seconds-per-attempt", "-1"),
        ("--scenario", "gpu*2"),
        ("--prices", "/does/not/exist.yaml"),
    ],
)
def test_misuse_is_exit_2(call: Call, both: Path, words: tuple[str, ...]) -> None:
    assert call("plan", both, *words).exit_code == 2


def test_nothing_to_plan_is_exit_2(call: Call, write: Callable[..., Path]) -> None:
    assert call("plan").exit_code == 2
    assert call("plan", write("prices", PriceList=FRESH)).exit_code == 2


def test_several_studies_are_planned_and_one_that_cannot_run_is_exit_1(
    call: Call, both: Path, write: Callable[..., Path]
) -> None:
    other = write("other", Study={"metadata.name": "other", "spec.runtime.nodeClass": "gone"})
    result = call("plan", both, other, *KNOWN, "-o", "json")
    assert result.exit_code == 1
    assert [one["fits"] for one in json.loads(result.stdout)] == [True, False]
