"""A report that shows itself: printed by rich, or as the last line of a notebook's cell.

Was the promise kept, the stages with their latencies, the budget, where the files are; behind them a notebook folds the other tables. They are the
sheets that `text` gives. What stands in a report may be anyone's: no character of it steers a terminal, none becomes an element of a page.
"""

from collections.abc import Iterator
from dataclasses import replace
from html import escape

from rich.console import Group, RenderableType
from rich.text import Text

from pipeline.plain import plain
from pipeline.report.latencies import latency_of, with_label
from pipeline.report.model import Report
from pipeline.report.text import Sheet, drawn, headline, sheets

MOST_TOLD = 1000
"""Characters of one text in a terminal."""


class Reports(dict[str, Report]):
    """Reports by target, which show themselves one after the other."""

    def __rich__(self) -> Group:
        return Group(*self.values())

    def _repr_html_(self) -> str:
        return "".join(map(to_html, self.values()))


def to_rich(report: Report) -> Group:
    """Return what a terminal shows of a report."""
    shown, _ = _parts(report)
    parts: list[RenderableType] = [Text(plain(_verdict(report), most=MOST_TOLD)), Text()]
    parts += [part for sheet in shown for part in (drawn(_printable(sheet)), Text())]
    return Group(*parts, *(Text(plain(line, most=MOST_TOLD)) for line in _files(report)))


def to_html(report: Report) -> str:
    """Return what a notebook shows of a report: plain HTML that needs no script, no style and no network."""
    shown, folded = (_tables(found) for found in _parts(report))
    files = "".join(f"<p>{escape(line)}</p>" for line in _files(report))
    folded = f"<details><summary>The other tables</summary>{folded}</details>" if folded else ""
    return f"<p>{escape(_verdict(report))}</p>{shown}{files}{folded}"


def _parts(report: Report) -> tuple[list[Sheet], list[Sheet]]:
    """Return the tables that are shown at once, and the others."""
    stages, *others = sheets(report)
    budget = [sheet for sheet in others if sheet.title == "budget"]
    return [_timed(report, stages), *budget], [sheet for sheet in others if sheet not in budget]


def _timed(report: Report, stages: Sheet) -> Sheet:
    """Return the table of stages with a column for latencies; as it is where there are none."""
    found = [latency_of(report, row.stage) for row in (*report.rows, *report.controls)]
    if not any(found):
        return stages
    cells = ["" if each is None else with_label(each) for each in found]
    rows = tuple((*row, cell) for row, cell in zip(stages.rows, cells, strict=True))
    return replace(stages, columns=(*stages.columns, "latency, one thread"), rows=rows)


def _verdict(report: Report) -> str:
    open_lines = any(verdict.outcome == "not_shown" for verdict in report.verdicts)
    word = "FAILED" if not report.passed else "passed, as far as it is shown" if open_lines else "passed"
    return f"{report.recipe} on {report.target}: {word}. {headline(report)}"


def _files(report: Report) -> Iterator[str]:
    """Say where the run left its files; of a report that was read again nobody knows."""
    if report.files:
        yield f"{', '.join(path.name for path in report.files)} in {report.files[0].parent}"


def _printable(sheet: Sheet) -> Sheet:
    rows = tuple(tuple(plain(cell, most=MOST_TOLD) for cell in row) for row in sheet.rows)
    columns, notes = (tuple(plain(text, most=MOST_TOLD) for text in texts) for texts in (sheet.columns, sheet.notes))
    return Sheet(plain(sheet.title, most=MOST_TOLD), columns, rows, notes)


def _tables(found: list[Sheet]) -> str:
    return "".join(part for sheet in found for part in _table(sheet))


def _table(sheet: Sheet) -> Iterator[str]:
    yield f"<h4>{escape(sheet.title)}</h4><table><thead><tr>"
    yield from (f"<th>{escape(column)}</th>" for column in sheet.columns)
    yield "</tr></thead><tbody>"
    for row in sheet.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell).replace(chr(10), '<br>')}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"
    yield from (f"<p>{escape(note)}</p>" for note in sheet.notes if note)
