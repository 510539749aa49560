"""Run: make what the store lacks, one event a step.

A step's key is the sha256 of all that its result may depend on: the stage and its version, the whole config, the digest of
each input, the fingerprints of the parts of the task that the stage reads, the seed, and the versions of the libraries
that matter. Thread count and processor are recorded beside the result, not in its key, so that machines share a store.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from pipeline.apart import run_on_several
from pipeline.artifact import Artifact, Facts, canonical_json
from pipeline.errors import MissingExtraError, StoreError
from pipeline.fingerprint import text_fingerprint
from pipeline.plan import Plan, Step
from pipeline.stage import Context, Progress
from pipeline.store import Record, Store
from pipeline.task import LoadedTask
from pipeline.traces import forgotten

NEURAL = ("neural-compressor", "neural-compressor-pt")
Watch = Callable[[Step, Progress], None]


@dataclass(frozen=True)
class Done:
    """A step that is made: now, or earlier (`cached`)."""

    step: Step
    artifact: Artifact
    record: Record
    cached: bool


@dataclass(frozen=True)
class Outlook:
    """What `explain` says of a step: is it in the store, and if not, which parts of its key changed."""

    step: str
    cached: bool
    changed: tuple[str, ...]


def run(plan: Plan, task: LoadedTask, store: Store, *, seed: int, name: str, watch: Watch) -> Iterator[Done]:
    """Make each step that the store lacks, and yield it; `name` is the recipe's, under which `explain` finds the keys."""
    made: dict[str, Done] = {}
    with store.in_use(), forgotten():
        for step in plan.steps:
            inputs = {given: made[source].artifact for given, source in step.inputs.items()}
            made[step.name] = _make(step, inputs, task, store, seed=seed, watch=watch)
            if not made[step.name].cached:  # a killed run has a last plan too
                store.remember_plan(name, {**store.last_plan(name), step.name: made[step.name].record.key})
            store.share(made[step.name].record, made[step.name].artifact)
            yield made[step.name]
    keys = {done.step.name: done.record.key for done in made.values()}
    with suppress(StoreError):  # all is made; a read-only store only keeps no last plan
        store.remember_plan(name, keys)


def explain(plan: Plan, task: LoadedTask, store: Store, *, seed: int, name: str) -> Iterator[Outlook]:
    """Say of each step whether a run would make it, and why; makes nothing."""
    last = store.last_plan(name)
    known: dict[str, Artifact] = {}
    for step in plan.steps:
        waiting = [given for given, source in step.inputs.items() if source not in known]
        inputs = {given: known[source] for given, source in step.inputs.items() if given not in waiting}
        parts = key_parts(step, inputs, task, seed=seed)
        found = None if waiting else store.find(key_of(parts))
        if found:
            known[step.name] = found[1]
        yield Outlook(step.name, cached=found is not None, changed=() if found else _why(step, parts, last, store))


def _why(step: Step, parts: Mapping[str, Any], last: Mapping[str, str], store: Store) -> tuple[str, ...]:
    """Return what differs from the last run; an input that isn't made yet differs."""
    before = store.record(last.get(step.name, ""))
    if before is None:
        return ("never made",)
    return _differences(before.parts, parts) or ("damaged or gone",)


def key_parts(step: Step, inputs: Mapping[str, Artifact], task: LoadedTask, *, seed: int) -> dict[str, Any]:
    """Return all that a step's result may depend on, by name."""
    return {
        "stage": step.stage.name,
        "version": step.stage.version,
        "config": step.config.model_dump(mode="json", exclude=set(step.config.not_in_key)),
        "inputs": {name: artifact.digest for name, artifact in inputs.items()},
        "task": {part: task.fingerprint(part) for part in (_part(part, step) for part in step.stage.reads)},
        "seed": seed,
        "libraries": {name: _version(name) for name in step.stage.libraries},
    }


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the sha256 of a key's parts."""
    return text_fingerprint(canonical_json(dict(parts)))


def _make(
    step: Step, inputs: Mapping[str, Artifact], task: LoadedTask, store: Store, *, seed: int, watch: Watch
) -> Done:
    parts = key_parts(step, inputs, task, seed=seed)
    key = key_of(parts)
    found = store.find(key)
    if found:
        return Done(step, found[1], found[0], cached=True)
    with store.locked(key):
        found = store.find(key)  # another run may have made it while this one waited
        if found:
            return Done(step, found[1], found[0], cached=True)
        artifact = _compute(step, inputs, parts, task, store, seed=seed, watch=watch)
    record = store.record(key)
    assert record is not None
    return Done(step, artifact, record, cached=False)


def _compute(
    step: Step,
    inputs: Mapping[str, Artifact],
    parts: Mapping[str, Any],
    task: LoadedTask,
    store: Store,
    *,
    seed: int,
    watch: Watch,
) -> Artifact:
    task.rehearse()
    key = key_of(parts)
    watch(step, Progress(0, 1, {}))
    start, used = time.perf_counter(), _cpu_seconds()
    with store.draft() as out, store.scratch(key) as scratch:
        context = Context(task=task, seed=seed, out=out, scratch=scratch, progress=lambda done: watch(step, done))
        facts = {**_run(step, inputs, context), **_constructed_by(step, task)}
        seconds = time.perf_counter() - start
        circumstances = {**_circumstances(step), "cpu_seconds": round(_cpu_seconds() - used, 3)}
        record = {"key": key, "parts": parts, "seconds": round(seconds, 3), "circumstances": circumstances}
        return store.commit(out, step.stage.gives, facts, record)


def _cpu_seconds() -> float:
    """Return what this process has used of the processor, with the children that it has waited for."""
    return sum(os.times()[:4])


def _run(step: Step, inputs: Mapping[str, Artifact], context: Context) -> Facts:
    """Run a stage here, or where it trains on several processes, apart."""
    config = step.config
    devices: int = getattr(config, "devices", 1) if getattr(config, "epochs", 0) else 1
    if devices == 1:
        return step.stage.run(inputs, config, context)
    return run_on_several(step.stage, inputs, config, context, devices=devices)


def _constructed_by(step: Step, task: LoadedTask) -> dict[str, str]:
    """A network's artifact names the code that rebuilds it: the same weights in other code are another network."""
    if step.stage.gives not in ("network", "quantized"):
        return {}
    return {
        "constructor_code": task.fingerprint(
            _part("teacher:{teacher}" if step.stage.name == "teach" else "student", step)
        )
    }


def _part(part: str, step: Step) -> str:
    """A stage may read a part that its config names: "teacher:{teacher}", "data.{split}"."""
    return part.format_map(step.config.model_dump())


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> tuple[str, ...]:
    """Return the dotted names of what two nested mappings don't share."""
    names: list[str] = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            names.extend(_differences(old, new, f"{prefix}{name}."))
        elif old != new:
            names.append(f"{prefix}{name}")
    return tuple(names)


@cache
def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"{distribution} isn't installed, and a step of this recipe needs it; "
            f"pip install 'edgepress[{'neural-compressor' if distribution in NEURAL else 'compress'}]'"
        ) from error


def _circumstances(step: Step) -> dict[str, Any]:
    """What may change the last bits of a float and is no part of the key."""
    settings = step.config.model_dump(mode="json", include=set(step.config.not_in_key))
    facts = {"machine": platform.machine(), "python": platform.python_version(), "system": platform.system()}
    return {**settings, **facts, "cpu_capability": torch.backends.cpu.get_cpu_capability()}
