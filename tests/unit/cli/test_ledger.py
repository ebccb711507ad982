"""`comptroller ledger …`: its output for users and programs, and its exit codes."""

import csv
import json
import random
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from comptroller.cli.console import console
from comptroller.cli.ledger import app, table
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
    assert run("verify", ledger, "-n", "team", "--head", head).exit_code == 0
    (ledger / journal_key("team", 12)).unlink()
    assert run("verify", ledger, "-n", "team").exit_code == 0
    assert run("verify", ledger, "-n", "team", "--head", head).exit_code == 1


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


def test_a_balance_shows_what_studies_declared(ledger: Path) -> None:
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
        (["verify", "NOWHERE"], 1, "is not a ledger: no object ledger/NAMESPACE"),
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


@pytest.mark.usefixtures("ledger")
def test_a_place_without_a_ledger_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    stray = tmp_path / "stray" / "ledger" / "team" / "notes.txt"
    stray.parent.mkdir(parents=True)
    stray.write_text("hello")
    for command in ("verify", "balance", "export"):
        for place in (tmp_path / "empty", tmp_path / "none", stray.parents[2], "memory:"):
            result = run(command, place)
            assert result.exit_code == 1, (command, place)
            assert "is not a ledger: no object ledger/NAMESPACE/journal/000000000000.json" in flat(result)
        assert f"did you mean {tmp_path}/ledger?" in flat(run(command, tmp_path))


def flat(result: Result) -> str:
    """Return the output without the line breaks of a terminal's width."""
    return " ".join(result.output.split())


def test_a_journal_that_was_deleted_under_its_snapshots_does_not_pass(tmp_path: Path) -> None:
    journal = Journal(DirectoryStore(tmp_path), "c", "team", "w", lambda: 7, snapshot_every=2)
    journal.catch_up()
    for _ in range(6):
        assert journal.append(plausible(journal.books, random.Random(1)))
    for path in (tmp_path / "ledger/team/journal").iterdir():
        path.unlink()
    result = run("verify", tmp_path)
    assert result.exit_code == 1
    assert "Missing" in result.output


def test_heads_of_several_namespaces_are_compared_at_once(ledger: Path, tmp_path: Path) -> None:
    heads = tmp_path / "heads.json"
    heads.write_text(run("verify", ledger, "-o", "json").output)
    assert run("verify", ledger, "--heads", heads).exit_code == 0
    (ledger / journal_key("team", 12)).unlink()
    assert run("verify", ledger).exit_code == 0
    result = run("verify", ledger, "--heads", heads, "-o", "json")
    assert result.exit_code == 1
    assert [v["rule"] for v in json.loads(result.output)[1]["violations"]] == ["Anchor"]
    for path in (ledger / "ledger/team/journal").iterdir():
        path.unlink()
    result = run("verify", ledger, "--heads", heads)
    assert result.exit_code == 1
    assert "has no ledger of team" in flat(result)


@pytest.mark.parametrize("content", ["", "[]", "{}", "[1]", '{"items": []}', '[{"namespace": "team"}]'])
def test_heads_that_are_none_are_refused(ledger: Path, tmp_path: Path, content: str) -> None:
    heads = tmp_path / "heads.json"
    heads.write_text(content)
    assert run("verify", ledger, "--heads", heads).exit_code == 1


def test_what_is_in_the_books_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table("WHAT")
    shown.add_row("\x1b]0;owned\x07\x1b[31mred\u202e")
    console().print(shown)
    assert [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()][-1] == "red"
