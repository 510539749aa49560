"""A waiver excuses what it names, for a reason, until its day, and is told when it is needed no longer."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.gate.verdict import Report
from pipeline.gate.waivers import apply, read_waivers
from tests.small_gate import check, finding

TODAY = date(2026, 11, 25)
FLOAT = finding("float-op", "error", "head/softmax")


def written(path: Path, *tables: str) -> Path:
    file = path / "waivers.toml"
    file.write_text("".join(f"[[waive]]\n{table}\n" for table in tables), encoding="utf-8")
    return file


def applied(path: Path, *tables: str, report: Report | None = None) -> Report:
    return apply(read_waivers(written(path, *tables)), report or Report((check(FLOAT),)), today=TODAY)


@pytest.mark.parametrize(
    "which",
    [
        "",
        'where = "head/*"',
        'where = "head/softmax"',
        'model = "build/*.tflite"',
        'target = "pixel-8"',
        "until = 2026-11-25",
        'where = "head/*"\nmodel = "build/model.tflite"\ntarget = "pixel-8"\nuntil = 2027-01-01',
    ],
)
def test_a_waiver_that_fits_excuses_the_finding(tmp_path: Path, which: str) -> None:
    report = applied(tmp_path, f'code = "float-op"\nreason = "on purpose"\n{which}')

    assert report.passed
    assert [(each.finding, each.reason) for each in report.checks[0].waived] == [(FLOAT, "on purpose")]
    assert report.findings == ()


@pytest.mark.parametrize("which", ['where = "tail/*"', 'where = "HEAD/*"'])
def test_a_waiver_of_another_place_excuses_nothing_and_is_told(tmp_path: Path, which: str) -> None:
    report = applied(tmp_path, f'code = "float-op"\nreason = "on purpose"\n{which}')

    assert not report.passed
    assert [(each.code, each.severity) for each in report.findings] == [("waiver-unused", "note")]


@pytest.mark.parametrize("which", ['target = "raspberry-pi-4"', 'model = "other.onnx"'])
def test_a_waiver_of_a_file_that_this_run_does_not_check_is_left_alone(tmp_path: Path, which: str) -> None:
    report = applied(tmp_path, f'code = "float-op"\nreason = "on purpose"\n{which}')

    assert not report.passed
    assert report.findings == ()


def test_an_expired_waiver_is_an_error_that_says_when_it_ended_and_why_it_was_there(tmp_path: Path) -> None:
    note = finding("metadata-missing", "note", "file")
    table = 'code = "metadata-missing"\nreason = "until the release"\nuntil = 2026-11-24'
    report = applied(tmp_path, table, report=Report((check(note),)))

    assert report.checks[0].findings == (note,)
    assert not report.passed
    assert [(each.code, each.severity) for each in report.findings] == [("waiver-expired", "error")]
    assert "ended on 2026-11-24; its reason was: until the release" in report.findings[0].message


def test_an_expired_waiver_whose_finding_is_gone_is_merely_unused(tmp_path: Path) -> None:
    report = applied(tmp_path, 'code = "hybrid"\nreason = "x"\nuntil = 2020-01-01')

    assert [each.code for each in report.findings] == ["waiver-unused"]


def test_an_expired_waiver_beside_a_valid_one_fails_nothing(tmp_path: Path) -> None:
    old, new = 'code = "float-op"\nreason = "old"\nuntil = 2020-01-01', 'code = "float-op"\nreason = "new"'
    report = applied(tmp_path, old, new)

    assert report.passed
    assert report.checks[0].waived[0].reason == "new"


def test_a_name_with_brackets_can_be_named_exactly(tmp_path: Path) -> None:
    layer = finding("float-op", "error", "layers[3]/conv")
    report = applied(
        tmp_path, 'code = "float-op"\nreason = "x"\nwhere = "layers[3]/conv"', report=Report((check(layer),))
    )

    assert report.passed


def test_a_missed_budget_line_can_be_waived_too(tmp_path: Path) -> None:
    missed = finding("budget-missed", "error", "size_kib")
    report = applied(
        tmp_path, 'code = "budget-missed"\nwhere = "size_kib"\nreason = "x"', report=Report((check(missed),))
    )

    assert report.passed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[waive]]\ncode = "float-op"\n', "key 'waive.0.reason' is missing"),
        ('[[waive]]\ncode = "float-op"\nreason = " "\n', "waive.0.reason"),
        (
            '[[waive]]\ncode = "float-opp"\nreason = "x"\n',
            "waiver 1 has no known code: 'float-opp'; did you mean 'float-op'?",
        ),
        ('[[waive]]\ncode = "waiver-expired"\nreason = "x"\n', "waiver 1 has no known code"),
        (
            '[[waive]]\ncode = "float-op"\nreason = "x"\nuntill = 2027-01-01\n',
            "unknown key 'waive.0.untill'; did you mean 'until'?",
        ),
        ('[[waive]]\ncode = "float-op"\nreason = "x"\nuntil = "soon"\n', "waive.0.until"),
        ("[[waiver]]\n", "unknown key 'waiver'; did you mean 'waive'?"),
        ("waive = 3\n", "key 'waive'"),
        ("[[waive]\n", "is no TOML"),
        ("x = [" * 5000, "is larger than"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "waivers.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(RecipeError) as raised:
        read_waivers(file)

    assert told in str(raised.value)
    assert str(file) in str(raised.value)


def test_an_empty_file_waives_nothing(tmp_path: Path) -> None:
    assert read_waivers(written(tmp_path)).waivers == ()
