"""The tally of the tests reports every skipped test."""

from pathlib import Path

import pytest

import tally

REPORT = """<testsuites><testsuite time="2.5">
<testcase classname="a" name="passes" time="1.5"/>
<testcase classname="a" name="fails" time="0"><failure message="no">trace</failure></testcase>
<testcase classname="a" name="skips" time="0"><skipped type="pytest.skip" message="{reason}"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tally, "REPORTS", tmp_path)
    monkeypatch.setattr(tally, "strays", lambda _: [])
    return tmp_path


def write(reports: Path, text: str) -> None:
    (reports / "unit.xml").write_text(text)


def test_it_counts(reports: Path) -> None:
    write(reports, REPORT.format(reason="no GPU here"))
    found = tally.tally(reports / "unit.xml")
    assert (found.ran, found.failed, found.seconds, found.took) == (1, 1, 1.5, 2.5)
    assert found.skipped == [("a.skips", "no GPU here")]


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (
            REPORT.replace('<failure message="no">trace</failure>', "").format(reason="no GPU here"),
            0,
            "no GPU here",
        ),
        (
            REPORT.replace('<failure message="no">trace</failure>', "").format(reason=""),
            1,
            "without a reason",
        ),
        (REPORT.format(reason="no GPU here"), 1, "unit: 1 failed"),
        ("<testsuites/>", 1, "unit passed no test"),
    ],
    ids=["a skip with a reason", "a skip without one", "a failure", "nothing"],
)
def test_its_verdict(
    reports: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, says: str
) -> None:
    write(reports, text)
    assert tally.main(["unit"]) == code
    assert says in capsys.readouterr().out


def test_a_level_that_did_not_run_is_a_fault(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(reports, REPORT.format(reason="no GPU here"))
    assert tally.main(["unit", "cluster"]) == 1
    assert "cluster did not run" in capsys.readouterr().out


def test_a_directory_that_no_level_runs_is_found(tmp_path: Path) -> None:
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "test_a.py").touch()
    (tmp_path / "e2e" / "deep").mkdir(parents=True)
    (tmp_path / "e2e" / "deep" / "test_b.py").touch()
    assert tally.strays(["unit"], tmp_path) == ["e2e"]
