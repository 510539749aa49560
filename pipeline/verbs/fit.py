"""`edgepress fit`: the cheapest network that keeps a budget on its targets."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.fit.found import Found
    from pipeline.report.model import Report

LOG_WIDTH = 180

RecipePath = Annotated[Path, typer.Argument(help="A recipe's .toml file, or the name of one that ships, e.g. digits.")]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="Instead of the recipe's targets; may be repeated.")
]
Latency = Annotated[float | None, typer.Option(help="At most so many milliseconds an inference, on each target.")]
Size = Annotated[float | None, typer.Option(help="At most so many KiB a file.")]
Drop = Annotated[float | None, typer.Option(help="At most so much of the first teacher's score lost, e.g. 0.01.")]
Trials = Annotated[int | None, typer.Option(help="At most so many networks; more than last time go on from there.")]
Out = Annotated[Path, typer.Option(help="Where fit.json, fit.svg and the chosen network's files go.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. distill.epochs=4; may be repeated.")]
Spec = Annotated[list[str] | None, typer.Option("--device", help="[TARGET=]SPEC, where to measure; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]


def fit(
    recipe: RecipePath,
    *,
    target: Targets = None,
    latency_ms: Latency = None,
    size_kib: Size = None,
    max_drop: Drop = None,
    trials: Trials = None,
    out: Out = Path("build"),
    settings: Settings = None,
    device: Spec = None,
    as_json: Json = False,
) -> None:
    """Search for the cheapest network that keeps a budget on each target, then make, prove and measure it."""
    from pipeline.api import load  # noqa: PLC0415 - torch
    from pipeline.console import watching  # noqa: PLC0415 - with it
    from pipeline.fit.fit import fit as search  # noqa: PLC0415 - with it

    lines = {
        "budget.latency_ms": latency_ms,
        "budget.size_kib": size_kib,
        "budget.max_drop": max_drop,
        "fit.trials": trials,
    }
    asked = [f"{key}={value}" for key, value in lines.items() if value is not None]
    with watching() as watcher:
        loaded = load(recipe, settings=[*(settings or []), *asked], targets=target or [])
        found, reports = search(*loaded, out=out, devices=device or [], watcher=watcher)
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "reports": [report.to_json() for report in reports]}, indent=1))
    else:
        _print(found, reports)
    if found.chosen is None or not all(report.passed for report in reports):
        raise typer.Exit(1)


def _print(found: "Found", reports: list["Report"]) -> None:
    from rich.console import Console  # noqa: PLC0415 - tables alone need it

    from pipeline.report.text import print_report, print_sheets  # noqa: PLC0415 - with it

    console = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    print_sheets([found.sheet()], console)
    for report in reports:
        print_report(report, console)
