"""Ahead: a run's steps made by several workers, wave after wave, before the run itself finds them in the store.

A wave holds the steps of all targets whose inputs are there; what two targets ask alike is made once. The run that follows makes nothing anew, so that
its report, its order and its verdicts are those of a run by one process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import run as engine
from pipeline.artifact import canonical_json
from pipeline.fingerprint import text_fingerprint
from pipeline.plan import Plan, Step
from pipeline.recipe import Recipe
from pipeline.store import Record, Store
from pipeline.task import LoadedTask
from pipeline.workers import Workers
from targets import Target

Planned = Sequence[tuple[Target, Plan]]
TaskAndPlan = Callable[[Recipe, Target, Store], tuple[LoadedTask, Plan]]
"""How a worker finds the task and the plan again: a module's function."""


def make_ahead(
    recipe: Recipe, plans: Planned, store: Store, crew: Workers, find: TaskAndPlan, say: Callable[[str], None]
) -> list[Record]:
    """Have the steps of several plans made by a crew, each once; return the records of those that weren't there."""
    made: list[Record] = []
    for wave in waves(plans, alike=recipe.student == "task"):
        names = ", ".join(dict.fromkeys(step.name for _, step in wave))
        say(f"{len(wave)} steps on {crew.count} workers: {names}")
        jobs = [(recipe, target, step.name, store.root.absolute(), find) for target, step in wave]
        for records in crew.each(make_step, jobs):
            made += records
    return made


def waves(plans: Planned, *, alike: bool) -> Iterator[list[tuple[Target, Step]]]:
    """Give wave after wave of steps; where targets have networks of their own (`alike` = False) they share none."""
    seen: set[str] = set()
    depths: dict[int, list[tuple[Target, Step]]] = {}
    for target, plan in plans:
        known: dict[str, tuple[int, str]] = {}
        for step in plan.steps:
            depth = 1 + max((known[source][0] for source in step.inputs.values()), default=-1)
            name = _identity(step, {given: known[source][1] for given, source in step.inputs.items()})
            known[step.name] = depth, name
            if (own := name if alike else f"{target.name} {name}") not in seen:
                seen.add(own)
                depths.setdefault(depth, []).append((target, step))
    yield from (depths[depth] for depth in sorted(depths))


def _identity(step: Step, inputs: Mapping[str, str]) -> str:
    """Return what two steps that give the same share."""
    made_of: dict[str, Any] = {
        "stage": step.stage.name,
        "config": step.config.model_dump(mode="json"),
        "inputs": dict(inputs),
    }
    return text_fingerprint(canonical_json(made_of))


def make_step(recipe: Recipe, target: Target, name: str, folder: Path, find: TaskAndPlan) -> list[Record]:
    """Make one step, and what it needs and nobody has made; return the records of what this made."""
    store = Store(folder)
    task, plan = find(recipe, target, store)
    part = replace(plan, steps=plan.leading_to([name]))
    made = engine.run(
        part, task, store, seed=recipe.seed, name=f"{recipe.name}@{target.name}", watch=lambda _step, _progress: None
    )
    return [done.record for done in made if not done.cached]
