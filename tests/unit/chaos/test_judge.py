"""The judge of `make chaos` finds costs over a ceiling, unbilled costs, and pods without a lease."""

import json
from typing import Any

from chaos.judge import Verdict, judge
from chaos.witness import Container

NAME = "s-12345678-0001-0"
KEY = {"study": "12345678-9abc", "trial": 1, "attempt": 0}
RESERVE = {"kind": "Reserve", "name": NAME, **KEY}
CLOSE = {"kind": "Close", **KEY}


def post(amount: int, **more: Any) -> dict[str, Any]:
    return {"kind": "Post", "amount": amount, **KEY, **more}


def ran(seconds: float, pod: str = f"{NAME}-abcde", name: str = "trainer", milli: int = 400) -> Container:
    return Container("ns", pod, name, milli, 1000.0, 1000.0 + seconds)


def concluded(*entries: dict[str, Any], containers: tuple[Container, ...], ceiling: int = 10_000) -> Verdict:
    journal = [json.dumps({"time": 0, "entries": entries}).encode()]
    verdict = judge("ns", journal, containers, {"s": ceiling}, "intruder")
    verdict.conclude()
    return verdict


def test_a_difference_of_a_second_is_no_fault() -> None:
    verdict = concluded(RESERVE, post(5_000), CLOSE, containers=(ran(10.9),))
    assert verdict.faults == []
    assert (verdict.cost, verdict.posted) == (5_450, 5_000)


def test_what_is_posted_short_is_found() -> None:
    verdict = concluded(RESERVE, post(4_000), CLOSE, containers=(ran(10),))
    assert verdict.faults == [f"{NAME} cost 5000 and is posted at 4000 micro-units"]


def test_each_pod_of_an_attempt_and_each_container_of_a_pod_costs() -> None:
    pods = (ran(10), ran(4, f"{NAME}-fghij"), ran(6, f"{NAME}-fghij", "guard", 100))
    assert concluded(RESERVE, post(8_750), CLOSE, containers=pods).cost == 10 * 500 + 6 * 625


def test_a_ceiling_is_held_against_what_ran_and_what_was_posted() -> None:
    verdict = concluded(RESERVE, post(5_000), CLOSE, containers=(ran(11),), ceiling=4_900)
    assert verdict.over == 600
    assert verdict.faults == [
        "s: cost is 600 micro-units over its ceiling",
        "s: posted is 100 micro-units over its ceiling",
    ]


def test_a_pod_without_a_lease_is_found_and_a_tenants_own_is_counted() -> None:
    pods = (ran(5, "s-12345678-0001-1-abcde"), ran(5, "other-abcde", "intruder"))
    verdict = concluded(RESERVE, CLOSE, containers=pods)
    assert verdict.faults == ["pod s-12345678-0001-1-abcde ran without a lease in the journal"]
    assert verdict.strangers == 1


def test_what_has_not_ended_is_found() -> None:
    verdict = concluded(RESERVE, containers=(Container("ns", f"{NAME}-abcde", "trainer", 400, 1000.0),))
    assert verdict.faults == [f"{NAME} has not ended", f"pod {NAME}-abcde has not ended"]


def test_an_overrun_is_a_fault() -> None:
    verdict = concluded(RESERVE, post(5_000, overrun=True), CLOSE, containers=(ran(10),))
    assert verdict.faults == [f"{NAME} is posted as an overrun"]
