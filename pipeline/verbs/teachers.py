"""`edgepress teachers`: whether a recipe's teachers are worth learning from, before hours are spent on it."""

import json
from typing import Annotated

import typer

from pipeline.errors import TeacherError
from pipeline.verbs.next_command import given, say_next
from pipeline.verbs.options import Json, RecipePath
from pipeline.verbs.printing import stdout_kept

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, e.g. audit.epochs=4; may be repeated.", show_default=False)
]


def teachers(context: typer.Context, recipe: RecipePath, *, settings: Settings = None, as_json: Json = False) -> None:
    """Judge a recipe's teachers: score, calibration, order of classes, preparation of the data, and a short probe."""
    from pipeline.api import audit, load  # noqa: PLC0415 - torch
    from pipeline.console import watching  # noqa: PLC0415 - with it
    from pipeline.report.audited import COLUMNS, notes, rows, why_stopped  # noqa: PLC0415 - with it

    with stdout_kept(for_json=as_json), watching() as watcher:
        found = audit(*load(recipe, settings=settings or [], targets=[]), watcher=watcher)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for row in rows(found):
            typer.echo("\n".join(f"{column}: {cell}" for column, cell in zip(COLUMNS, row, strict=True) if cell))
        typer.echo("\n".join(notes(found)))
    why = why_stopped(found)
    if why:
        raise TeacherError(why)
    if not as_json:
        say_next("run", *given(context), why="they teach")
