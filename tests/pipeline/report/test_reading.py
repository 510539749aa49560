"""Reports are read from anyone's folder: a good one comes back as it was, anything else is one line or a page, never a traceback."""

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import EdgepressError, ReportError
from pipeline.report.html import run_page
from pipeline.report.reading import read_run, read_trials
from tests.small_report import report, write_run

EXTREMES: tuple[Any, ...] = (0, -1, 1e300, 2**62, "", "<b>", [], {}, None, True)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give where each part of a document lies, the first of a list for all of them."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy with another value at one place."""
    found = copy.deepcopy(document)
    inside = found
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return found


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    first, second = report(target="pixel-8"), report()
    folder = write_run(tmp_path, first, second)

    assert read_run(folder).reports == (second, first)  # the recipe names raspberry-pi-4 first
    assert read_run(folder / "pixel-8").reports == (first,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON that a run wrote"),
        (b"\xff\xfe", "is no JSON that a run wrote"),
        (b"[]", "input should be a valid dictionary"),
        (b"[" * 100_000, "is no JSON that a run wrote"),
        (b'{"recipe": NaN}', "it holds NaN"),
        (b'{"recipe": 1e999}', "out of all proportion"),
        (b'{"recipe": 1' + b"0" * 4000 + b"}", "out of all proportion"),
        (b'{"recipe": "\\ud800"}', "is no JSON that a run wrote"),
        (b'{"recipe": "x"}', "is missing"),
        (b'{"\\u001b[31m": 1}', "unknown key"),
        (b" " * (2**23 + 1), "is larger than 8 MiB"),
    ],
)
def test_what_is_no_report_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "report.json").write_bytes(content)

    with pytest.raises(ReportError, match=said) as error:
        read_run(tmp_path)

    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_an_empty_folder_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"no report\.json in .*give the folder that `edgepress run --out` wrote"):
        read_run(tmp_path)


def test_a_part_without_a_schema_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    folder = write_run(tmp_path, report(ledger={"made": 1}))

    with pytest.raises(ReportError, match="can't be shown: a part of it"):
        read_run(folder)


def test_a_search_without_its_trials_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text('{"why": 1}')

    with pytest.raises(ReportError, match=r"fit\.json: key"):
        read_trials(tmp_path)


def shown_or_refused(folder: Path, document: Any) -> str:
    """Return the page of a report in which something was changed, or the line that refuses it."""
    (folder / "t").mkdir(exist_ok=True)
    (folder / "t" / "report.json").write_text(json.dumps(document), encoding="utf-8")
    try:
        return run_page(read_run(folder))
    except EdgepressError as error:
        return str(error)


def each_is_a_page_or_one_line(folder: Path, cases: Sequence[tuple[tuple[Any, ...], Any]]) -> None:
    document = json.loads(json.dumps(report().to_json()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.report.html.library", lambda: "")
        told = {(path, str(value)): shown_or_refused(folder, changed(document, path, value)) for path, value in cases}
    pages = [where for where, text in told.items() if text.endswith("</html>")]
    lines = [where for where, text in told.items() if "\n" not in text]

    assert len(pages) + len(lines) == len(cases)
    assert min(len(pages), len(lines)) > len(cases) / 8


def test_whatever_one_value_is_there_is_a_page_or_one_line(tmp_path: Path) -> None:
    every = list(places(report().to_json()))
    each_is_a_page_or_one_line(
        tmp_path, [(path, EXTREMES[number % len(EXTREMES)]) for number, path in enumerate(every) if number % 5 == 0]
    )


@pytest.mark.slow
def test_whatever_every_value_is_there_is_a_page_or_one_line(tmp_path: Path) -> None:
    every = list(places(report().to_json()))
    each_is_a_page_or_one_line(tmp_path, [(path, value) for path in every for value in EXTREMES])
