"""Everything that `kubectl get` prints of an object is written by the operator."""

import re

import pytest

from comptroller.ledger.books import Books
from comptroller.plan.budgets import record_budgets
from comptroller.plan.listed import price_list_status
from comptroller.plan.verdict import Verdict
from comptroller.status import conditions
from comptroller.world import World
from comptroller_api.budget import Budget
from comptroller_api.crd import KINDS, definition
from support.attempts import STUDY
from support.stage import PRICES, T0

BUDGET = Budget.model_validate({"metadata": {"name": "b"}, "spec": {"amount": "1", "currency": "USD"}})


def written(kind):
    """Return the condition types that the operator writes, for a kind whose conditions are printed."""
    if kind == "Study":
        return conditions(STUDY, Verdict("Active", "Running", ""), T0)
    if kind == "Budget":
        (record,) = record_budgets(World(now=T0, namespace="team", books=Books(), budgets=(BUDGET,)), ())
        return record.status.conditions
    if kind == "PriceList":
        return price_list_status(PRICES, [PRICES], {}, T0).conditions
    return []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_condition_that_is_printed_is_written(kind):
    [version] = definition(kind)["spec"]["versions"]
    paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    printed = {found[1] for path in paths if (found := re.search(r'@\.type=="(\w+)"', path))}
    assert printed <= {condition.type for condition in written(kind.name)}
