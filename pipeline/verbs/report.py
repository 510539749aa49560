"""`edgepress report`: what a run left as one page for people, or what differs between runs and what that did."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import MissingExtraError, ReportError
from pipeline.plain import plain
from pipeline.verbs.printing import console

if TYPE_CHECKING:
    from pipeline.report.compare import Comparison
    from pipeline.report.model import Report
    from pipeline.report.text import Sheet

MOST_TOLD = 1000
MOST_RUNS = 3
PAGE, COMPARED = "report.html", "comparison.html"

Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="What `edgepress run --out` wrote; of two or three, what differs."),
]
Out = Annotated[
    Path | None, typer.Option(help="The page. [default: report.html in RUN; of several, comparison.html here]")
]
Png = Annotated[Path | None, typer.Option("--png", help="Write the main picture too, for a README or a pull request.")]


def report(runs: Runs, *, out: Out = None, png: Png = None) -> None:
    """Write a run's report as one HTML page that opens offline, or compare runs, setting by setting."""
    from pipeline.report.html import check_installed, comparison_page, run_page  # noqa: PLC0415 - pydantic and numpy
    from pipeline.report.reading import read_run  # noqa: PLC0415 - as above

    if len(runs) > MOST_RUNS:
        raise ReportError(f"{len(runs)} runs were given; a comparison takes {MOST_RUNS} at most")
    if png and len(runs) > 1:
        raise ReportError(f"--png {png} draws one run; {len(runs)} were given")
    check_installed()
    found = [read_run(run) for run in runs]
    if len(found) == 1:
        _write(out or runs[0] / PAGE, run_page(found[0]).encode())
    else:
        from pipeline.report.compare import compare  # noqa: PLC0415 - as above

        compared = compare(found)
        _tell(compared)
        _write(out or Path(COMPARED), comparison_page(compared).encode())
    if png:
        from pipeline.report.picture import picture  # noqa: PLC0415 - as above

        _write(png, picture(found[0]))


def write_at_end(reports: Sequence["Report"], out: Path) -> None:
    """Write the page of what a run has just made; says in one line on stderr where it is, or why there is none."""
    from pipeline.report.html import run_page  # noqa: PLC0415 - pydantic and numpy
    from pipeline.report.reading import run_of  # noqa: PLC0415 - as above

    if not reports:
        return
    try:
        _write(out / PAGE, run_page(run_of(out, reports)).encode(), err=True)
    except (MissingExtraError, ReportError) as error:  # hours of work are done, and delivered
        typer.echo(f"no {PAGE} was written: {error}", err=True)


def _write(path: Path, content: bytes, *, err: bool = False) -> None:
    from pipeline.drafted import drafted  # noqa: PLC0415 - only here

    with drafted(path.parent, [path.name]) as draft:
        (draft / path.name).write_bytes(content)
    typer.echo(f"wrote {path}", err=err)


def _tell(found: "Comparison") -> None:
    """Print a comparison; what it repeats of somebody's report must not steer the terminal."""
    from pipeline.report.compare import LETTERS  # noqa: PLC0415 - as above
    from pipeline.report.text import print_sheets  # noqa: PLC0415 - rich

    runs = [f"{letter}  {run.folder}" for letter, run in zip(LETTERS, found.runs, strict=False)]
    same = ("nothing that the reports hold: settings, data and versions are equal",)
    for title, lines in (("", runs), ("what changed", found.changes or same), ("what it did", found.effects)):
        typer.echo("\n".join(filter(None, (title, *(f"{'  ' * bool(title)}{_shown(line)}" for line in lines)))) + "\n")
    print_sheets(map(_safe, found.sheets), console())


def _safe(sheet: "Sheet") -> "Sheet":
    rows = tuple(tuple(map(_shown, row)) for row in sheet.rows)
    return replace(sheet, title=_shown(sheet.title), columns=tuple(map(_shown, sheet.columns)), rows=rows)


def _shown(text: str) -> str:
    return plain(text, most=MOST_TOLD)
