"""`comptroller ledger …`: what people and programs get, and the exit codes."""

import csv
import json
import random
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from comptroller.cli.ledger import app
from comptroller.ledger.encoding import journal_key
from comptroller.ledger.journal import Journal
from comptroller.ledger.stores import DirectoryStore
from comptroller.ledger.testing import ACCOUNT, STUDY, ceiling, plausible, transfer


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    root, rng = tmp_path / "ledger", random.Random(1)
    for namespace in ("default", "team"):
        journal = Journal(DirectoryStore(root), "c", namespace, "w", lambda: 1_790_000_000)
        journal.catch_up()
        for _ in range(12):
            assert journal.append(plausible(journal.books, rng))
        number = journal.books.accounts[ACCOUNT].transfers
        more = ceiling(10**6, journal.books.accounts[ACCOUNT].revision + 1)
        target = next(name for name in journal.books.accounts if name.startswith("budget/"))
        assert journal.append([more, transfer(1_000, number, ACCOUNT, target)])
    return root


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_whole_ledger_passes_in_one_line_each(ledger: Path) -> None:
    result = run("verify", ledger)
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith("ledger")]
    assert [line.split(",")[0] for line in lines] == ["ledger default: 13 batches", "ledger team: 13 batches"]
    assert all(line.endswith("chain whole, no prefix over any ceiling: PASS") for line in lines)


def test_damage_fails_with_the_batch_and_the_rule(ledger: Path) -> None:
    (ledger / journal_key("team", 3)).unlink()
    result = run("verify", ledger)
    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert "Missing" in result.output
    verdicts = json.loads(run("verify", ledger, "-o", "json").output)
    assert [(v["namespace"], v["passed"]) for v in verdicts] == [("default", True), ("team", False)]
    assert (verdicts[1]["violations"][0]["sequence"], verdicts[1]["violations"][0]["rule"]) == (3, "Missing")


def test_the_head_that_verify_prints_is_the_anchor_it_takes(ledger: Path) -> None:
    head = json.loads(run("verify", ledger, "-n", "team", "-o", "json").output)[0]["head"]
    assert run("verify", ledger, "-n", "team", "--anchor", head).exit_code == 0
    (ledger / journal_key("team", 12)).unlink()
    assert run("verify", ledger, "-n", "team").exit_code == 0
    assert run("verify", ledger, "-n", "team", "--anchor", head).exit_code == 1


def test_a_balance_is_decimal_strings_for_programs_and_a_table_for_people(ledger: Path) -> None:
    (found,) = json.loads(run("balance", ledger, "-n", "team", "-o", "json").output)
    account = next(line for line in found["accounts"] if line["account"].startswith("budget/"))
    assert isinstance(account["spent"], str)
    table = run("balance", ledger, "-n", "team", "--explain")
    assert table.exit_code == 0
    assert account["spent"] in table.output
    assert "reserve/" in table.output


def test_any_number_is_explained_down_to_its_entries(ledger: Path) -> None:
    (found,) = json.loads(run("balance", ledger, "-n", "team", "--explain", "-o", "json").output)
    assert any(move["entry"].startswith("transfer/") for move in found["movements"])
    for account in found["accounts"]:
        assert Decimal(account["room"]) <= Decimal(account["ceiling"])
        words = ("balance", ledger, "-n", "team", "--account", account["account"], "--explain")
        (alone,) = json.loads(run(*words, "-o", "json").output)
        assert alone["accounts"] == [account]
        moves = alone["movements"]
        assert {move["account"] for move in moves} == {account["account"]}
        assert moves == [move for move in found["movements"] if move["account"] == account["account"]]
        sums = ("ceiling", "spent", "held")
        assert {name: moves[-1][name] for name in sums} == {name: account[name] for name in sums}
        spent, held, holds = Decimal(0), Decimal(0), {}
        for move in moves:
            kind, _, place = move["entry"].partition("/")
            after = (Decimal(move["spent"]), Decimal(move["held"]))
            if kind == "reserve":
                holds[place] = after[1] - held
                assert after[0] == spent
            elif kind == "settle":
                assert held - after[1] == holds.pop(place)
            else:
                assert after == (spent, held)
            spent, held = after
        assert sum(holds.values()) == Decimal(account["held"])
        assert moves[-1]["entry"] in run(*words).output


def test_a_balance_shows_what_studies_said_they_would_do(ledger: Path) -> None:
    (found,) = json.loads(run("balance", ledger, "-n", "team", "-o", "json").output)
    first = found["manifests"][0]
    assert (first["study"], first["revision"], first["sequence"]) == (STUDY, 0, 0)
    assert f"{STUDY}/0" in run("balance", ledger, "-n", "team").output


def test_a_damaged_ledger_gives_no_balance(ledger: Path) -> None:
    (ledger / journal_key("team", 0)).write_bytes(b"{}")
    result = run("balance", ledger)
    assert result.exit_code == 1
    assert "run `ledger verify`" in result.output


def test_an_export_goes_to_the_terminal_to_a_file_or_out_as_json(ledger: Path, tmp_path: Path) -> None:
    printed = run("export", ledger)
    assert printed.exit_code == 0
    rows = list(csv.DictReader(printed.stdout.splitlines()))
    assert rows
    assert run("export", ledger, "--to", tmp_path / "focus.csv").exit_code == 0
    assert (tmp_path / "focus.csv").read_text() == printed.stdout
    assert len(json.loads(run("export", ledger, "-o", "json").output)) == len(rows)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["verify", "ftp://x"], 2, "is not a store"),
        (["verify"], 2, "Missing argument"),
        (["verify", "LEDGER", "--anchor", "7:ab", "-n", "team"], 2, "is not SEQUENCE:HASH"),
        (["verify", "LEDGER", "--anchor", f"7:{'a' * 64}"], 2, "give --namespace"),
        (["verify", "NOWHERE"], 1, "there is no ledger at"),
        (["verify", "LEDGER", "-n", "nobody"], 1, "it has default, team"),
        (["balance", "LEDGER", "--study", "nobody"], 1, "no trial of a study 'nobody'"),
        (["balance", "LEDGER", "--account", "nobody"], 1, "no account 'nobody' is in the books"),
        (["export", "LEDGER", "--to", "NOWHERE/x/y.csv"], 1, "No such file"),
    ],
)
def test_what_is_refused_says_why(words: list[str], code: int, message: str, ledger: Path) -> None:
    places = {"LEDGER": ledger, "NOWHERE": ledger.parent / "nowhere"}
    result = run(*(str(places.get(w, w)).replace("NOWHERE", str(ledger.parent / "nowhere")) for w in words))
    assert result.exit_code == code
    assert message in " ".join(result.output.replace("│", " ").split())
