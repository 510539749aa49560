"""`edgepress fit`: the cheapest network that keeps a budget on its targets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.verbs.next_command import after_run
from pipeline.verbs.options import Cluster, Devices, Json, RecipePath, Targets, WorkerCount
from pipeline.verbs.printing import console, print_reports, stdout_kept
from pipeline.verbs.report import write_at_end

if TYPE_CHECKING:
    from pipeline.fit.found import Found
    from pipeline.recipe import Recipe
    from pipeline.report.model import Report

Latency = Annotated[float | None, typer.Option(help="At most so many milliseconds an inference, on each target.")]
Size = Annotated[float | None, typer.Option(help="At most so many KiB a file.")]
Drop = Annotated[float | None, typer.Option(help="At most so much of the first teacher's score lost, e.g. 0.01.")]
Trials = Annotated[int | None, typer.Option(help="At most so many networks; more than last time go on from there.")]
Hours = Annotated[
    float | None, typer.Option(help="Ask for no more networks after so long; the same command goes on from there.")
]
WattHours = Annotated[float | None, typer.Option(help="As --hours, by the energy that [ledger] counts.")]
Out = Annotated[Path, typer.Option(help="Where fit.json, fit.svg and the chosen network's files go.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. distill.epochs=4; may be repeated.")]


def fit(
    recipe: RecipePath,
    *,
    target: Targets = None,
    latency_ms: Latency = None,
    size_kib: Size = None,
    max_drop: Drop = None,
    trials: Trials = None,
    hours: Hours = None,
    watt_hours: WattHours = None,
    out: Out = Path("build"),
    settings: Settings = None,
    device: Devices = None,
    workers: WorkerCount = 1,
    cluster: Cluster = "",
    as_json: Json = False,
) -> None:
    """Search for the cheapest network that keeps a budget on each target, then make, prove and measure it."""
    from pipeline.report.text import print_sheets  # noqa: PLC0415 - torch

    lines = {"budget.latency_ms": latency_ms, "budget.size_kib": size_kib, "budget.max_drop": max_drop}
    lines |= {"fit.trials": trials, "fit.hours": hours, "fit.watt_hours": watt_hours}
    asked = [*(settings or []), *(f"{key}={value}" for key, value in lines.items() if value is not None)]
    with stdout_kept(for_json=as_json):
        loaded, found, reports = _searched(recipe, asked, target or [], out, device or [], (workers, cluster))
    write_at_end(reports, out)
    if as_json:
        typer.echo(json.dumps({**found.to_json(), "reports": [report.to_json() for report in reports]}, indent=1))
    else:
        print_sheets([found.sheet()], console())
        print_reports(reports)
    if found.chosen is None or not all(report.passed for report in reports):
        raise typer.Exit(1)
    if not as_json:
        after_run(loaded, reports, out, search=())


def _searched(
    recipe: Path, settings: list[str], targets: list[str], out: Path, devices: list[str], crew_of: tuple[int, str]
) -> tuple["Recipe", "Found", list["Report"]]:
    from pipeline.api import load  # noqa: PLC0415 - torch
    from pipeline.console import watching  # noqa: PLC0415 - with it
    from pipeline.fit.fit import fit as search  # noqa: PLC0415 - with it
    from pipeline.workers import workers as hired  # noqa: PLC0415 - with it

    loaded = load(recipe, settings=settings, targets=targets)
    with watching() as watcher, hired(*crew_of) as crew:
        return loaded[0], *search(*loaded, out=out, devices=devices, watcher=watcher, crew=crew)
