"""A trial: one recipe made for each target up to its files, judged on the validation split, by exact sizes and by what the target's device counts.

Nothing of a trial is timed here: a file costs what the emulated core counts or Vela estimates. Where a target has neither, or an estimate leaves
operators out, multiply-accumulates stand for its cost. A device that the user names is believed as it measures.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices import Measurement, Request, open_device
from pipeline import run as engine
from pipeline.api import Silent, Watcher, task_of, with_student
from pipeline.bench import measure
from pipeline.errors import ExportError, ModelError, RecipeError, RefusedError, TrainingError
from pipeline.fit.space import Settings, applied
from pipeline.plan import Plan, Row, Step, plan
from pipeline.pour import pour
from pipeline.recipe import Recipe
from pipeline.recorded_outputs import read_answers
from pipeline.report.intervals import paired_drop
from pipeline.report.model import Interval
from pipeline.resampled import resampled_scores
from pipeline.run import Done
from pipeline.stage import discover
from pipeline.store import Store
from pipeline.task import LoadedTask
from pipeline.traces import forgotten
from targets import Target

KIB = 1024
MACS = "MACs"


@dataclass(frozen=True)
class Fitness:
    """What a trial's network is on one target.

    `drop` is what it loses of the reference's validation score, positive where it is worse, `drop_high` the upper end of its paired 95 %
    interval; `size_kib` that of the larger file. `cost` is in `unit`; `latency_ms` and its upper end are None where nothing tells them.
    """

    target: str
    score: float
    drop: float
    drop_high: float
    size_kib: float
    cost: float
    quantity: str
    unit: str
    label: str
    latency_ms: float | None
    latency_high_ms: float | None
    macs: int
    parameters: int


@dataclass(frozen=True)
class Outcome:
    """A finished trial: one fitness a target, or the error that ended it; seconds that its steps took, and that others had spent already."""

    number: int
    settings: Settings
    fitness: tuple[Fitness, ...]
    seconds: float
    shared_seconds: float
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """What all trials of a search share, in plain values: the recipe that they turn, the spec of each target's device, the store's folder."""

    recipe: Recipe
    targets: tuple[Target, ...]
    devices: Mapping[str, str]
    store: Path


@dataclass(frozen=True)
class Maker:
    """Makes trials of a bench in this process."""

    bench: Bench
    task: LoadedTask
    watcher: Watcher

    def make(self, number: int, settings: Settings) -> Outcome:
        """Make a trial; a recipe that can't be made or collapses is an outcome too."""
        recipe = applied(self.bench.recipe, settings).model_copy(update={"controls": False, "measure": False})
        seconds = {True: 0.0, False: 0.0}
        fitness, error = tuple[Fitness, ...](), ""
        try:
            fitness = tuple([self._on(target, recipe, seconds) for target in self.bench.targets])
        except (RecipeError, TrainingError, ModelError, ExportError) as failed:
            error = str(failed)
        return Outcome(number, dict(settings), fitness, round(seconds[False], 1), round(seconds[True], 1), error)

    @forgotten()
    def _on(self, target: Target, recipe: Recipe, seconds: dict[bool, float]) -> Fitness:
        store = Store(self.bench.store)
        whole = plan(recipe, self.task, discover(), poured=pour(target))
        task, whole, _ = with_student(recipe, self.task, target, whole, store=store, watcher=self.watcher)
        steps, reference, program = _needed(whole)
        done: dict[str, Done] = {}
        name = f"{recipe.name}@{target.name}@fit"
        for each in engine.run(steps, task, store, seed=recipe.seed, name=name, watch=self.watcher.watch):
            done[each.step.name] = each
            seconds[each.cached] += each.record.seconds
        score, drop = _drop(task, done[reference], done[program])
        files = [done[name].artifact for name in whole.files]
        paths = [file.file(f"model.{file.kind}") for file in files]
        facts = done[whole.program].artifact.facts
        return Fitness(
            target=target.name,
            score=score,
            drop=drop.value,
            drop_high=drop.high,
            size_kib=max(path.stat().st_size for path in paths) / KIB,
            **self._cost(target, paths[-1], facts["macs"]),
            macs=facts["macs"],
            parameters=facts["parameters"],
        )

    def _cost(self, target: Target, path: Path, macs: int) -> dict[str, Any]:
        told = self._told(target, path)
        latency = next((each for each in told if each.quantity == "latency" and not each.of_host), None)
        known = {"latency_ms": _ms(latency, "value"), "latency_high_ms": _ms(latency, "high")}
        if not told or not told[0].valid:
            return {"cost": float(macs), "quantity": MACS, "unit": MACS, "label": "exact", **known}
        first = {name: getattr(told[0], name) for name in ("quantity", "unit", "label")}
        return {**first, "cost": told[0].value, **known}

    def _told(self, target: Target, path: Path) -> tuple[Measurement, ...]:
        spec = self.bench.devices.get(target.name)
        if spec is None:
            return ()
        made_at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        try:
            return measure([path], open_device(spec, target), Request(), Store(self.bench.store), made_at=made_at)[0]
        except RefusedError:  # a format that the device doesn't run
            return ()


def make_anywhere(bench: Bench, number: int, settings: Settings) -> Outcome:
    """Make a trial in a process that knows nothing yet; it keeps the task for the next."""
    return Maker(bench, task_of(bench.recipe), Silent()).make(number, settings)


def _ms(latency: Measurement | None, end: str) -> float | None:
    return None if latency is None or not latency.valid else getattr(latency, end) / 1000


def _needed(whole: Plan) -> tuple[Plan, str, str]:
    """Return the plan of the files and of two judgements on the validation split, of the reference and of the program, with their names."""
    program = next(row for row in whole.rows if row.model == whole.program)
    judged = [_on_validation(whole, row) for row in (whole.rows[0], program)]
    needed = {*whole.files, *(source for step in judged for source in step.inputs.values())}
    return replace(whole, steps=(*whole.leading_to(needed), *judged)), judged[0].name, judged[1].name


def _on_validation(whole: Plan, row: Row) -> Step:
    test = whole.step(row.answers)
    return replace(test, name=f"{row.model}.judged", config=test.config.model_copy(update={"split": "validation"}))


def _drop(task: LoadedTask, reference: Done, program: Done) -> tuple[float, Interval]:
    """Return the program's score, and what it loses of the reference's, paired over the validation samples."""
    answers = [read_answers(each.artifact) for each in (reference, program)]
    known = task.targets("validation")
    targets = answers[0] if known is None else known
    before, after = (resampled_scores(task.score, each, targets) for each in answers)
    higher, samples = task.metric.higher_is_better, len(task.splits.validation)
    return float(after[0]), paired_drop(before, after, higher_is_better=higher, samples=samples)
