"""The library's front door: `compress` does in four arguments what `edgepress run` does; the command line calls the same."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from devices import open_device
from pipeline import run as engine
from pipeline.ahead import make_ahead
from pipeline.artifact import Facts
from pipeline.chosen import with_chosen
from pipeline.console import in_notebook, showing
from pipeline.deliver import deliver
from pipeline.dotted import dotted, toml_value
from pipeline.errors import RecipeError, TeacherError
from pipeline.ledger import Ahead, metered
from pipeline.measure import measure, measure_layers
from pipeline.places import EVERY, place_of, read_places
from pipeline.plan import Plan, Step, choice_plan, plan
from pipeline.pour import pour
from pipeline.recipe import Recipe, read_recipe, recipe_from
from pipeline.report.audited import why_stopped
from pipeline.report.build import build
from pipeline.report.made import Made
from pipeline.report.model import Report
from pipeline.report.view import Reports
from pipeline.run import Done, Outlook
from pipeline.stage import Progress, discover
from pipeline.store import Record, Store, default_store
from pipeline.task import LoadedTask
from pipeline.task_file import load_task, wrap_task
from pipeline.workers import Workers
from targets import Target, load_target

TOOLCHAIN = ("edgepress", "torch", "torchao", "torch-pruning", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch")


class Watcher(Protocol):
    """Who is told how a run goes."""

    def watch(self, step: Step, progress: Progress) -> None:
        """Take how far a step is."""

    def done(self, done: Done) -> None:
        """Take a finished step."""

    def say(self, text: str) -> None:
        """Take a line of text."""


class Silent:
    """Tells nobody."""

    def watch(self, step: Step, progress: Progress) -> None:
        """Take how far a step is."""

    def done(self, done: Done) -> None:
        """Take a finished step."""

    def say(self, text: str) -> None:
        """Take a line of text."""


def compress(
    task: Any,
    targets: Sequence[str],
    out: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    progress: bool | None = None,
) -> Reports:
    """Compress a task's student for each target, prove and measure the files, and return the reports by target.

    `task` is a task object, or the path of a recipe. Files and reports go to `out`/TARGET. `settings` are a recipe's
    content: `{"stages": ["distill", "export"], "distill": {"epochs": 3}}`. A failed gate is in the report, not raised.
    `progress` shows how it goes, as the command line does; where nothing is said, in a notebook only. The reports show themselves, in a notebook's
    cell and where rich prints them.
    """
    if isinstance(task, str | Path):
        recipe, loaded = load(Path(task), settings=_flat(settings or {}), targets=list(targets))
    else:
        content = {"schema": 1, "name": str(task.name), "task": "given", "targets": list(targets), **(settings or {})}
        recipe = recipe_from(content, folder=Path.cwd(), where="settings", stages=tuple(discover()))
        loaded = wrap_task(task, seed=recipe.seed)
    with showing() if (in_notebook() if progress is None else progress) else nullcontext(Silent()) as watcher:
        reports = press(recipe, loaded, out=Path(out), devices=[], fresh=False, watcher=watcher)
        return Reports({report.target: report for report in reports})


def load(path: Path, *, settings: Sequence[str], targets: Sequence[str]) -> tuple[Recipe, LoadedTask]:
    """Read a recipe and load its task; `targets`, where given, stand instead of the recipe's own, and their files lie where the caller is."""
    recipe = read_recipe(path, settings=settings, stages=tuple(discover()))
    if targets:
        here = [str(Path(name).absolute()) if name.endswith(".toml") else name for name in targets]
        recipe = recipe.model_copy(update={"targets": tuple(here)})
    return recipe, load_task(recipe.task, relative_to=recipe.folder, seed=recipe.seed)


def task_of(recipe: Recipe) -> LoadedTask:
    """Return a recipe's task, read once a process: for workers, which last as long as one command does."""
    return _task_of(recipe.task, recipe.folder, recipe.seed)


@lru_cache(maxsize=1)
def _task_of(reference: str, folder: Path, seed: int) -> LoadedTask:
    return load_task(reference, relative_to=folder, seed=seed)


def press(
    recipe: Recipe,
    task: LoadedTask,
    *,
    out: Path,
    devices: Sequence[str],
    fresh: bool,
    watcher: Watcher,
    crew: Workers | None = None,
) -> Iterator[Report]:
    """Make, prove, measure and deliver a recipe's files, one target after the other; a `crew` of several makes the steps before."""
    store = Store(default_store())
    plans = plans_of(recipe, task)
    where = devices_of(recipe, devices, [target.name for target, _ in plans])
    for target, _ in plans:
        if spec := where[target.name]:
            open_device(spec, target)  # one that isn't set up says so before hours are spent
    ahead = Ahead()
    if crew and crew.count > 1:
        with metered(recipe.ledger, processes=crew.count) as spent:
            records = _make_ahead(recipe, task, plans, store, crew, watcher)
        ahead = Ahead(records, spent)
    for target, steps in plans:
        watcher.say(f"{recipe.name} for {target.name}")
        with metered(recipe.ledger, processes=recipe.processes) as spent:
            own, planned, done = with_student(recipe, task, target, steps, store=store, watcher=watcher)
            for step in engine.run(
                planned, own, store, seed=recipe.seed, name=f"{recipe.name}@{target.name}", watch=watcher.watch
            ):
                watcher.done(step)
                done[step.step.name] = step
                _heed(step, watcher)
        done, spent, ahead = ahead.claim(done, spent)
        made = Made(recipe=recipe, plan=planned, task=own, done=done, target=target, spent=spent)
        report = _reported(made, target, store, device=where[target.name], fresh=fresh, say=watcher.say)
        yield report.with_files(deliver(report, made, out / target.name))


def _reported(
    made: Made, target: Target, store: Store, *, device: str | None, fresh: bool, say: Callable[[str], None]
) -> Report:
    """Measure what was made, and build its report."""
    measured = measure(made, store, target=target, device=device, fresh=fresh, say=say)
    times = measure_layers(made, target=target, device=device, say=say)
    made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
    return build(made, target=target.name, made_at=made_at, toolchain=_toolchain(), measured=measured, times=times)


def _make_ahead(
    recipe: Recipe, task: LoadedTask, plans: list[tuple[Target, Plan]], store: Store, crew: Workers, watcher: Watcher
) -> list[Record]:
    """Have a crew make the steps: first those of the audits, which may stop the run, then all others; return what was made."""
    there = recipe.from_anywhere()
    found = [
        (target, *with_student(recipe, task, target, plan, store=store, watcher=watcher)) for target, plan in plans
    ]
    audits = [(target, replace(plan, steps=plan.leading_to(["audit"]))) for target, _, plan, _ in found]
    made = [done.record for _, _, _, chosen in found for done in chosen.values() if not done.cached]
    made += make_ahead(there, audits, store, crew, task_and_plan, watcher.say)
    for (target, own, _, _), (_, part) in zip(found, audits, strict=True):
        for done in engine.run(
            part, own, store, seed=recipe.seed, name=f"{recipe.name}@{target.name}", watch=watcher.watch
        ):
            _heed(done, Silent())
    return made + make_ahead(
        there, [(target, plan) for target, _, plan, _ in found], store, crew, task_and_plan, watcher.say
    )


def task_and_plan(recipe: Recipe, target: Target, store: Store) -> tuple[LoadedTask, Plan]:
    """Return the task and the plan of a recipe for a target, with the student that it takes."""
    task = task_of(recipe)
    whole = plan(recipe, task, discover(), poured=pour(target))
    own, planned, _ = with_student(recipe, task, target, whole, store=store, watcher=Silent())
    return own, planned


def audit(recipe: Recipe, task: LoadedTask, *, watcher: Watcher) -> Facts:
    """Judge a recipe's teachers, as a run of it does at its start; RecipeError where there is nothing to judge."""
    target, whole = plans_of(recipe, task)[0]
    task, whole, _ = with_student(recipe, task, target, whole, store=Store(default_store()), watcher=watcher)
    if "audit" not in {step.name for step in whole.steps}:
        raise RecipeError(
            f"recipe {recipe.name!r} has nothing to audit: it takes a stage distill, a teacher, and labels on the training and "
            "validation splits"
        )
    part = replace(whole, steps=whole.leading_to(["audit"]))
    found: Facts = {}
    for done in engine.run(
        part, task, Store(default_store()), seed=recipe.seed, name=f"{recipe.name}@audit", watch=watcher.watch
    ):
        watcher.done(done)
        found = done.artifact.facts
    return found


def with_student(
    recipe: Recipe, task: LoadedTask, target: Target, steps: Plan, *, store: Store, watcher: Watcher
) -> tuple[LoadedTask, Plan, dict[str, Done]]:
    """Return the task with the student that the recipe asks for, its plan, and the step that chose it, if any."""
    if recipe.student == "task":
        return task, steps, {}
    stages, poured = discover(), pour(target)
    choice = choice_plan(recipe, task, stages, poured=poured)
    name = f"{recipe.name}@{target.name}@choose"
    [done] = engine.run(choice, task, store, seed=recipe.seed, name=name, watch=watcher.watch)
    watcher.done(done)
    watcher.say(f"student: {done.artifact.facts['why']}")
    own = with_chosen(task, done.artifact.facts)
    return own, plan(recipe, own, stages, poured=poured), {"choose": done}


def _heed(done: Done, watcher: Watcher) -> None:
    """Stop where the audit's verdict and the recipe say so; tell it in any case."""
    if done.step.name != "audit":
        return
    why = why_stopped(done.artifact.facts)
    if why and done.step.config.model_dump()["on_weak"] == "stop":
        raise TeacherError(f"{why}, or go on with on_weak = 'warn' in [audit]")
    watcher.say(why or f"the teachers are {done.artifact.facts['verdict']}")


def explain(recipe: Recipe, task: LoadedTask) -> Iterator[tuple[str, Outlook]]:
    """Say of each step of each target whether a run would make it, and why; makes nothing."""
    store = Store(default_store())
    for target, steps in plans_of(recipe, task):
        own, planned = task, steps
        if recipe.student != "task":
            choice = choice_plan(recipe, task, discover(), poured=pour(target))
            name = f"{recipe.name}@{target.name}@choose"
            [outlook] = engine.explain(choice, task, store, seed=recipe.seed, name=name)
            yield target.name, outlook
            if not outlook.cached:
                continue  # what follows depends on the choice
            own, planned, _ = with_student(recipe, task, target, steps, store=store, watcher=Silent())
        for outlook in engine.explain(planned, own, store, seed=recipe.seed, name=f"{recipe.name}@{target.name}"):
            yield target.name, outlook


def plans_of(recipe: Recipe, task: LoadedTask) -> list[tuple[Target, Plan]]:
    """Plan for every target before anything runs, so that a mistake costs no time."""
    stages = discover()
    loaded = [load_target(_profile(name, recipe)) for name in recipe.targets]
    return [(target, plan(recipe, task, stages, poured=pour(target))) for target in loaded]


def _profile(name: str, recipe: Recipe) -> str | Path:
    return recipe.folder / name if name.endswith(".toml") else name


def devices_of(recipe: Recipe, given: Sequence[str], targets: Sequence[str]) -> dict[str, str | None]:
    """Return where each target is measured: `[devices]` of the recipe, then `--device [TARGET=]SPEC`."""
    asked = read_places(given)
    places = asked if EVERY in asked else {**recipe.devices, **asked}
    return {target: place_of(places, target, targets) for target in targets}


def _flat(settings: Mapping[str, Any]) -> list[str]:
    """Return nested settings as "section.key=value" lines, values as TOML writes them."""
    return [f"{name}={toml_value(value)}" for name, value in dotted(settings) if value != {}]


def _toolchain() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in TOOLCHAIN}
