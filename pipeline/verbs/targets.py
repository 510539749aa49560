"""`edgepress targets`: which devices there are, what is known of each and by whom, and whether a file would fit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import EdgepressError
from pipeline.verbs.options import Json
from pipeline.verbs.printing import console

if TYPE_CHECKING:
    from targets import Target

LOG_WIDTH = 160
"""Characters a line where no terminal says how many it has."""
KINDS = {"phone": "phones", "board": "boards", "microcontroller": "microcontrollers"}

Name = Annotated[str | None, typer.Argument(help="A target's name, or its .toml file.")]
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
        _explain(load_target(name), as_json=as_json)
    else:
        _forecast(fits, load_target(name), as_json=as_json)


def _list(*, as_json: bool) -> None:
    from targets import known_targets, load_target  # noqa: PLC0415 - as above
    from targets.summary import WAYS, summary  # noqa: PLC0415 - as above

    rows = [summary(load_target(name)) for name in known_targets()]
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=1))
        return
    from rich.table import Table  # noqa: PLC0415 - as above

    stdout = console(LOG_WIDTH)
    for kind, title in KINDS.items():
        table = Table(box=None, pad_edge=False, title_justify="left", header_style="bold")
        for column in (title, "", "cores@MHz", "RAM + flash", "int8", "runtimes", "--device"):
            table.add_column(column, overflow="fold", no_wrap=column == title)
        for row in rows:
            if row.kind == kind:
                cells = (row.name, row.title, row.cores, row.memory, row.int8)
                table.add_row(*cells, " ".join(row.runtimes), " ".join(row.measured_with))
        stdout.print(table, markup=False)
        stdout.print()
    for way, meaning in WAYS.items():
        typer.echo(f"{way:<5} {meaning}")


def _explain(target: "Target", *, as_json: bool) -> None:
    from targets import describe  # noqa: PLC0415 - as above
    from targets.summary import WAYS, measured_with  # noqa: PLC0415 - as above

    ways = measured_with(target)
    if as_json:
        typer.echo(json.dumps(target.model_dump(mode="json") | {"measured_with": ways}, indent=1))
        return
    typer.echo(f"{target.name}: {target.title}, a {target.kind}")
    for what, value, source in describe(target):
        typer.echo(f"{what:<32} {value:<28} {source}".rstrip())
    for way in ways:
        typer.echo(f"{'--device ' + way:<32} {WAYS[way]}")


def _forecast(model: Path, target: "Target", *, as_json: bool) -> None:
    from pipeline.forecast import forecast, to_text  # noqa: PLC0415 - both runtimes' libraries

    found = forecast(model, target)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else to_text(found))
    if not found.fits:
        raise typer.Exit(1)
