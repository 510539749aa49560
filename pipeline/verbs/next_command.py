"""The command that comes next, told on stderr when a verb has ended: stdout stays what it was."""

import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipeline.checks.finding import Finding
    from pipeline.gate.verdict import Report as GateReport
    from pipeline.recipe import Recipe
    from pipeline.report.model import Report

FILES = ("model.tflite", "model.onnx")


def say_next(*words: object, why: str = "") -> None:
    """Tell a command, quoted so that it can be pasted, and what for."""
    command = shlex.join(["edgepress", *map(str, words)])
    typer.echo(f"next: {command}" + (f"   # {why}" if why else ""), err=True)


def given(context: typer.Context, *, leave_out: Collection[str] = ("as_json",)) -> list[str]:
    """Return the arguments that a verb was given, so that the next one means the same."""
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name in leave_out or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        values = map(str, value if isinstance(value, list | tuple) else [value])
        if parameter.param_type_name == "argument":
            words += values
        elif value is True:
            words.append(parameter.opts[0])
        else:
            words += [word for each in values for word in (parameter.opts[0], each)]
    return words


def after_run(recipe: "Recipe", reports: Sequence["Report"], out: Path, *, search: Sequence[str]) -> None:
    """Say of each target where its files are, and what to do with them; `search` are the arguments of a search for another network."""
    for report, name in zip(reports, recipe.targets, strict=False):
        folder = out / report.target
        files = [file for file in FILES if (folder / file).exists()]
        typer.echo(f"{report.target}: {', '.join([*files, 'report.md'])} in {folder}", err=True)
        target = str(recipe.folder / name) if name.endswith(".toml") else name
        if files and report.passed:
            say_next("check", folder / files[0], "--target", target, why="what is inside, and what is slow there")
            if is_open := [file for file in files if _latency_is_open(report, Path(file).suffix[1:])]:
                asked = (folder / is_open[0], "--target", target, "--device", "SPEC")
                say_next("bench", *asked, why="measures it there; `edgepress devices` lists what SPEC can be")
    if any(verdict.outcome == "missed" for report in reports for verdict in report.verdicts):
        say_next("fit", *search, why="searches for a network that keeps the budget")


def after_check(report: "GateReport", arguments: Sequence[str]) -> None:
    """Say how to learn more of what failed, or how to accept it; `arguments` are those of the check."""
    failing = [finding for finding in _findings(report) if finding.severity == "error"] or list(_findings(report))
    if failing:
        say_next("check", "--explain", failing[0].code, why="what it means and what to do")
    if report.baseline_file and "--update-baseline" not in arguments:
        say_next("check", *arguments, "--update-baseline", why="accepts what is, once it is meant to be so")


def _findings(report: "GateReport") -> Iterable["Finding"]:
    return [finding for check in report.checks for finding in check.findings] + list(report.findings)


def _latency_is_open(report: "Report", kind: str) -> bool:
    return any(
        verdict.outcome == "not_shown" and verdict.budget == f"latency_ms, int8 {kind}" for verdict in report.verdicts
    )
