"""`fit`: search, then make the chosen recipe for its targets as `edgepress run` would, with controls, gate and report."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from devices import Device, open_device, tells_latency
from devices.pool import taken_out
from pipeline.api import Watcher, devices_of, plans_of, press
from pipeline.drafted import drafted
from pipeline.errors import RecipeError
from pipeline.fit.found import Found, draw
from pipeline.fit.search import Make, Searching
from pipeline.fit.space import Settings, Space, applied, space_of
from pipeline.fit.trial import Bench, Maker, Outcome, make_anywhere
from pipeline.ledger import metered
from pipeline.pour import pour
from pipeline.recipe import Recipe
from pipeline.report.model import Report
from pipeline.stage import discover
from pipeline.store import Store, default_store
from pipeline.task import LoadedTask
from pipeline.workers import Here, Workers
from targets import Target

FILES = ("fit.json", "fit.svg")


def fit(
    recipe: Recipe,
    task: LoadedTask,
    *,
    out: Path,
    devices: Sequence[str],
    watcher: Watcher,
    crew: Workers | None = None,
) -> tuple[Found, list[Report]]:
    """Return what the search found, and the chosen recipe's reports; none where the budget can't be kept. Writes FILES into `out`."""
    _check(recipe)
    _check_meter(recipe, crew)
    targets = tuple(target for target, _ in plans_of(recipe, task))
    space = space_of(recipe, discover())
    _check_space(recipe, task, space)
    counted = _counted(recipe, devices, targets)
    # Opened now: one that isn't there says so before hours are spent.
    opened = {target.name: open_device(counted[target.name], target) for target in targets if target.name in counted}
    _check_latency(recipe, [target.name for target in targets], opened)
    bench = Bench(recipe.from_anywhere(), targets, counted, Store(default_store()).root.absolute())
    with metered(recipe.ledger, processes=max(recipe.processes, crew.count if crew else 1)) as spent:
        searching = Searching(recipe, space, _makes(bench, task, watcher, crew), spent)
        for found in _found(searching, list(opened.values())):
            watcher.say(found.newest)
            _write(found, out)
    found = replace(found, spent=spent, ended=searching.ended)
    _write(found, out)
    for board in found.boards_taken_out:
        watcher.say(f"{board.board} was taken out of its pool: {board.why}")
    if found.chosen is None:
        return found, []
    chosen = _final(applied(recipe, found.chosen.settings))
    specs = [f"{name}={spec}" for name, spec in counted.items()]
    return found, list(press(chosen, task, out=out, devices=specs, fresh=False, watcher=watcher))


def _counted(recipe: Recipe, devices: Sequence[str], targets: Sequence[Target]) -> dict[str, str]:
    """Return the spec of the device that tells each target's costs; none where the host alone could, unless it was named."""
    named = devices_of(recipe, devices, [target.name for target in targets])
    where = {target.name: named[target.name] or pour(target)["costs"]["device"] for target in targets}
    return {name: spec for name, spec in where.items() if named[name] or spec != "host"}


def _found(searching: Searching, opened: Sequence[Device]) -> Iterator[Found]:
    """Give all that was found so far, each time that a trial is made."""
    own = {key: values[0] for key, values in searching.space.items()}
    outcomes: tuple[Outcome, ...] = ()
    for outcome in searching:
        outcomes = (*outcomes, outcome)
        yield Found(searching.recipe, own, outcomes, tuple(out for each in opened for out in taken_out(each)))


def _makes(bench: Bench, task: LoadedTask, watcher: Watcher, crew: Workers | None) -> Make:
    """Return what makes a batch of trials: this process, or workers elsewhere."""
    if crew is None or isinstance(crew, Here):
        maker = Maker(bench, task, watcher)
        return lambda jobs: Here().each(maker.make, jobs)

    def elsewhere(jobs: Sequence[tuple[int, Settings]]) -> Iterator[Outcome]:
        watcher.say(f"{len(jobs)} trials on {crew.count} workers")
        return crew.each(make_anywhere, [(bench, *job) for job in jobs])

    return elsewhere


def _check(recipe: Recipe) -> None:
    if "export" not in recipe.stages:
        raise RecipeError(f"recipe {recipe.name!r} exports nothing, and fit judges files; put export last in stages")
    if recipe.budget.model_dump(exclude_none=True) == {}:
        raise RecipeError(
            f"recipe {recipe.name!r} has no [budget], and fit looks for the cheapest network that keeps one; give --max-drop, "
            "--latency-ms or --size-kib"
        )


def _check_meter(recipe: Recipe, crew: Workers | None) -> None:
    """Refuse a limit of energy that nobody counts."""
    if recipe.fit.watt_hours is None:
        return
    asked = f"recipe {recipe.name!r}: fit.watt_hours = {recipe.fit.watt_hours:g}"
    if recipe.ledger is None:
        raise RecipeError(f"{asked}, and no [ledger] counts them; give one, e.g. --set ledger.country=DEU")
    if crew is not None and not crew.on_this_machine:
        raise RecipeError(f"{asked}, and only this machine's are counted, not a cluster's; give hours, or no --cluster")


def _check_space(recipe: Recipe, task: LoadedTask, space: Space) -> None:
    """Refuse, before hours are spent, what can't be planned with one setting turned; what only fails together is a failed trial."""
    for key, values in space.items():
        for value in values:
            turned = applied(recipe, {key: value})
            try:
                _check(turned)
                plans_of(turned, task)
            except RecipeError as error:
                raise RecipeError(f"[fit] would try {key} = {value!r:.80}: {error}") from error


def _check_latency(recipe: Recipe, targets: Sequence[str], opened: Mapping[str, Device]) -> None:
    """Refuse a budget that nobody can judge, before hours are spent on it."""
    unknown = [name for name in targets if name not in opened or not tells_latency(opened[name])]
    if recipe.budget.latency_ms is not None and unknown:
        name = unknown[0]
        found = f"{opened[name].name} tells no latency of it" if name in opened else "nothing here runs its files"
        raise RecipeError(
            f"recipe {recipe.name!r}: budget.latency_ms = {recipe.budget.latency_ms:g} can't be judged on {name}: {found}; "
            f"name what measures it, --device {name}=SPEC (see `edgepress devices`), or leave the line out"
        )


def _final(recipe: Recipe) -> Recipe:
    """The search was the judge of whether the teacher pays: the audit tells, and doesn't stop."""
    if "distill" not in recipe.stages:
        return recipe
    return recipe.model_copy(
        update={"sections": {**recipe.sections, "audit": {"on_weak": "warn", **recipe.sections.get("audit", {})}}}
    )


def _write(found: Found, out: Path) -> None:
    """Write FILES, each whole or not at all: a killed search leaves whole ones."""
    with drafted(out, FILES) as draft:
        content = json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"
        (draft / "fit.json").write_text(content, encoding="utf-8")
        if any(outcome.fitness for outcome in found.outcomes):
            draw(found, draft / "fit.svg")
