"""`edgepress targets`: which devices there are, what is known of each and by whom, and whether a file would fit."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import EdgepressError
from pipeline.verbs import completion
from pipeline.verbs.options import Json
from pipeline.verbs.printing import console

if TYPE_CHECKING:
    from rich.table import Table

    from targets import Target
    from targets.summary import Summary

LOG_WIDTH = 200
"""Characters a line where no terminal says how many it has."""
WIDE = 120
"""Characters a line from which a table shows everything."""
FACT_WIDTH = 48
KINDS = {"phone": "phones", "board": "boards", "microcontroller": "microcontrollers"}

Name = Annotated[
    str | None, typer.Argument(help="A target's name, or its .toml file.", autocompletion=completion.target_names)
]
Fits = Annotated[
    Path | None, typer.Option("--fits", help="Forecast for an ONNX or TFLite file; ends with 1 when it doesn't fit.")
]


def targets(name: Name = None, *, fits: Fits = None, as_json: Json = False) -> None:
    """List the targets, show one with the source of each fact, or forecast whether a file fits it."""
    from targets import load_target  # noqa: PLC0415 - pydantic models of a profile

    if name is None:
        if fits is not None:
            raise EdgepressError(f"--fits {fits} needs a target's name before it; `edgepress targets` lists them")
        _list(as_json=as_json)
    elif fits is None:
        _explain(load_target(name), name, as_json=as_json)
    else:
        _forecast(fits, name, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from targets import known_targets, load_target  # noqa: PLC0415 - as above
    from targets.summary import TELLS, summary  # noqa: PLC0415 - as above

    rows = [summary(load_target(name)) for name in known_targets()]
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        return
    stdout = console(LOG_WIDTH)
    for kind, title in KINDS.items():
        stdout.print(_table(title, [row for row in rows if row.kind == kind], width=stdout.width), markup=False)
        stdout.print()
    for word, meaning in TELLS.items():
        typer.echo(f"{word:<9} {meaning}")
    typer.echo("next: edgepress targets NAME, for every fact and its source; edgepress targets NAME --fits MODEL")


def _table(title: str, rows: "list[Summary]", *, width: int) -> "Table":
    """Return one kind's table; the title and the runtimes are left out where they don't fit."""
    from rich.table import Table  # noqa: PLC0415 - only a table needs it

    cells: dict[str, list[str]] = {
        title: [row.name for row in rows],
        "": [row.title for row in rows],
        "cores@MHz": [row.cores for row in rows],
        "RAM + flash": [row.memory for row in rows],
        "int8 by": [row.int8 for row in rows],
        "runtimes": [" ".join(row.runtimes) for row in rows],
        "board, W": [f"{row.active_w:g}" if row.active_w else "" for row in rows],
        "latency, by --device": [_ways(row) for row in rows],
    }
    left_out = {"", "runtimes"} if width < WIDE else set()
    shown = {column: told for column, told in cells.items() if any(told) and column not in left_out}
    table = Table(box=None, pad_edge=False, title_justify="left", header_style="bold")
    for column in shown:
        table.add_column(column, overflow="fold", no_wrap=column == title)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    return table


def _ways(row: "Summary") -> str:
    return ", ".join(f"{way} {word}" for way, word in row.latency.items()) or "no way from here"


def _explain(target: "Target", given: str, *, as_json: bool) -> None:
    from targets import describe  # noqa: PLC0415 - as above
    from targets.summary import WAYS, measured_with  # noqa: PLC0415 - as above

    ways = measured_with(target)
    if as_json:
        typer.echo(json.dumps(target.model_dump(mode="json") | {"measured_with": ways}, indent=1))
        return
    facts = describe(target)
    first, second = (min(FACT_WIDTH, max(len(fact[column]) for fact in facts)) for column in (0, 1))
    typer.echo(f"{target.name}: {target.title}, a {target.kind}\n")
    for what, value, source in facts:
        typer.echo(f"{what:<{first}}  {value:<{second}}  {source}".rstrip())
    typer.echo()
    for way in ways:
        typer.echo(f"{'--device ' + way:<{first}}  {WAYS[way]}")
    named = shlex.quote(given)
    typer.echo(f"next: edgepress run RECIPE --target {named}; edgepress targets {named} --fits MODEL")


def _forecast(model: Path, given: str, *, as_json: bool) -> None:
    from pipeline.forecast import forecast, to_text  # noqa: PLC0415 - both runtimes' libraries
    from targets import load_target  # noqa: PLC0415 - as above

    found = forecast(model, load_target(given))
    told = json.dumps(found.to_json(), indent=1) if as_json else to_text(found, model=model, target=given)
    typer.echo(told)
    if not found.fits:
        raise typer.Exit(1)
