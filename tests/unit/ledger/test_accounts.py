"""Names of accounts: what they are of, and that they stay the strings that they were."""

import json

import pytest

from comptroller.ledger.accounts import AccountName, Family
from comptroller.ledger.encoding import encode_entry
from comptroller.ledger.entries import Ceiling
from comptroller.ledger.testing import ceiling, reserve

STUDY = AccountName.of_study("u1")
PERIOD = AccountName.of_period("team", "2026-12")
CREDIT = AccountName.of_credit("team", "2026-12-31")
CAP = AccountName.of_cap("team", "u1")


@pytest.mark.parametrize(
    ("name", "text", "kind", "budget", "study"),
    [
        (STUDY, "study/u1", "Study", None, "u1"),
        (PERIOD, "budget/team/2026-12", "Period", "team", None),
        (CREDIT, "budget/team/credit/2026-12-31", "Credit", "team", None),
        (CAP, "budget/team/cap/u1", "Cap", "team", None),
        (AccountName("budget/team"), "budget/team", None, "team", None),
        (AccountName("other"), "other", None, None, None),
    ],
)
def test_a_name_says_what_the_account_is_of(name, text, kind, budget, study):
    assert (name, name.kind, name.budget, name.study) == (text, kind, budget, study)
    assert name.family == Family(kind, budget)
    assert hash(name) == hash(text)


def test_a_name_is_read_from_an_entry_and_written_as_the_same_bytes():
    entry = Ceiling.model_validate_json(encode_entry(ceiling(5, account="budget/team/2026-12")))
    assert (type(entry.account), entry.account.kind) == (AccountName, "Period")
    assert json.loads(encode_entry(entry))["account"] == "budget/team/2026-12"
    lease = reserve(5, accounts=(STUDY, CAP))
    assert json.loads(encode_entry(lease))["accounts"] == ["study/u1", "budget/team/cap/u1"]
    assert {type(name) for name in lease.model_dump(mode="json")["accounts"]} == {str}


def test_a_sentence_begins_with_what_the_account_is_of():
    assert PERIOD.in_words == "budget team/2026-12"
    assert CAP.in_words == "budget team/cap/u1"
