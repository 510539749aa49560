"""The command that comes next, told on stderr when a verb has ended: stdout stays what it was."""

import shlex
from collections.abc import Iterable, Sequence
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


def after_run(given: Path, recipe: "Recipe", reports: Sequence["Report"], out: Path) -> None:
    """Say of each target where its files are, and what to do with them."""
    for report, name in zip(reports, recipe.targets, strict=False):
        folder = out / report.target
        files = [file for file in FILES if (folder / file).exists()]
        typer.echo(f"{report.target}: {', '.join([*files, 'report.md'])} in {folder}", err=True)
        target = str(recipe.folder / name) if name.endswith(".toml") else name
        if any(verdict.outcome == "missed" for verdict in report.verdicts):
            say_next("fit", given, "--target", target, why="searches for a network that keeps the budget")
        elif files and report.passed:
            say_next("check", folder / files[0], "--target", target, why="what is inside, and what is slow there")
            if _latency_is_open(report):
                asked = ("--target", target, "--device", f"{report.target}=SPEC")
                say_next("run", given, *asked, why="measures there; `edgepress devices` lists what SPEC can be")


def after_check(report: "GateReport") -> None:
    """Say how to learn more of what failed, or how to accept it."""
    failing = [finding for finding in _findings(report) if finding.severity == "error"] or list(_findings(report))
    if failing:
        say_next("check", "--explain", failing[0].code, why="what it means and what to do")
    if report.baseline_file:
        say_next("check", "--update-baseline", why="accepts what is, once it is meant to be so")


def _findings(report: "GateReport") -> Iterable["Finding"]:
    return [finding for check in report.checks for finding in check.findings] + list(report.findings)


def _latency_is_open(report: "Report") -> bool:
    return any(
        verdict.outcome == "not_shown" and verdict.budget.startswith("latency_ms") for verdict in report.verdicts
    )
