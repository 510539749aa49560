"""Small stages that write real files, and a plan of three steps: count the samples, add to the count, add again.

Run as a script, it runs that plan in a store of its own process: `python -m tests.small_engine STORE LOG [WAIT]`, where a
step that is computed leaves a line in LOG and, with WAIT, waits until that file is gone.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.artifact import Artifact, Facts
from pipeline.plan import Plan, Step
from pipeline.run import Done, run
from pipeline.stage import Context, Progress, Stage, StageConfig
from pipeline.store import Store
from pipeline.task import LoadedTask
from tests.small_task import bars


class CountConfig(StageConfig):
    """Count every so many samples."""

    step: int = 1


class AddConfig(StageConfig):
    """Add so much, at most up to a limit; `log` says where to leave a line."""

    by: int = 1
    limit: int = 10**9


def count(inputs: Mapping[str, Artifact], config: CountConfig, context: Context) -> Facts:
    assert not inputs
    return _write(len(context.task.splits.train) // config.step, context)


def add(inputs: Mapping[str, Artifact], config: AddConfig, context: Context) -> Facts:
    number = json.loads(inputs["number"].file("costs.json").read_text(encoding="utf-8"))
    context.progress(Progress(1, 2, {"number": float(number)}))
    return _write(min(number + config.by, config.limit), context)


def _write(number: int, context: Context) -> Facts:
    (context.out / "costs.json").write_text(json.dumps(number), encoding="utf-8")
    return {"number": number}


COUNT = Stage("count", 1, CountConfig, (), "costs", ("data.train",), ("numpy",), count)
ADD = Stage("add", 1, AddConfig, ("number",), "costs", ("loss",), (), add)
COUNTED = Step("count", COUNT, CountConfig(), {})
ONE = Step("one", ADD, AddConfig(by=1), {"number": "count"})
TWO = Step("two", ADD, AddConfig(by=2), {"number": "one"})


def plan_of(*steps: Step) -> Plan:
    return Plan(steps=steps or (COUNTED, ONE, TWO), rows=(), program="two", files=())


def made(
    store: Store, *steps: Step, task: LoadedTask | None = None, seed: int = 0, name: str = "numbers"
) -> list[Done]:
    return list(run(plan_of(*steps), task or bars(), store, seed=seed, name=name, watch=lambda _step, _done: None))


def computed(done: list[Done]) -> list[str]:
    """Return the names of the steps that were not in the store."""
    return [one.step.name for one in done if not one.cached]


def numbers(done: list[Done]) -> list[int]:
    return [one.artifact.facts["number"] for one in done]


def logged(step: Step, log: Path, wait: Path | None) -> Step:
    """Return the step with a stage that leaves a line in `log` and waits until `wait` is gone; its key is the same."""

    def tell(inputs: Mapping[str, Artifact], config: StageConfig, context: Context) -> Facts:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{step.name}\n")
        until = time.monotonic() + 60
        while wait is not None and wait.exists() and time.monotonic() < until:
            pass
        return step.stage.run(inputs, config, context)

    return replace(step, stage=replace(step.stage, run=tell))


if __name__ == "__main__":
    _, root, lines, *waits = sys.argv
    print("ready", flush=True)
    waiting = Path(waits[0]) if waits else None
    made(Store(Path(root)), *(logged(step, Path(lines), waiting) for step in (COUNTED, ONE, TWO)))
