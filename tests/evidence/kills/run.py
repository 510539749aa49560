"""Run a small recipe once in peace, then killed with SIGKILL at random moments of each training stage; compare all digests.

`python -m tests.evidence.kills.run [--kills 5] [--seed 0] [--export] [--out results.json]`

The stages, the plan, the store and the engine are the product's own. Each run is a process of its own (a fork, so that torch is
imported once). It tells each step that it takes; after a random number of them in the stage in question, and a random part
of a step more, it is killed, and the next run goes on. Prints a JSON document: the kills, where they fell, and each step's digest on
both sides.
"""

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.plan import Plan, Step, plan
from pipeline.pour import pour
from pipeline.recipe import recipe_from
from pipeline.run import run
from pipeline.stage import Progress, discover
from pipeline.store import Store
from targets import load_target
from tests.small_task import bars

TRAINING_STEPS = ("teach:wide", "distill", "prune", "quantize")
SETTINGS = {"epochs": 10, "batch_size": 16, "checkpoint_steps": 2}
MOST_STEPS = 6
"""A run may take so many steps of a stage before it is killed: five kills leave some of the sixty for the last run."""

NAME = "kills"
HEAVY = ("lightning_fabric", "torch_pruning", "torchao.quantization.pt2e.quantize_pt2e")


@dataclass(frozen=True)
class Kill:
    """Where a run was killed: in which step of the plan, and at which of its own steps."""

    step: str
    at: int
    of: int


def small_plan(*, export: bool) -> Plan:
    """Return the recipe's steps; without `export`, those that make no file."""
    content = {
        "schema": 1,
        "name": NAME,
        "task": "tests.small_task:Bars",
        "targets": ["raspberry-pi-4"],
        "controls": False,
        "teach": SETTINGS,
        "audit": {"on_weak": "skip"},
        "distill": SETTINGS,
        "prune": {**SETTINGS, "channel_multiple": 1, "largest_drop": 0.99},
        "quantize": SETTINGS,
    }
    recipe = recipe_from(content, folder=Path(), where=NAME, stages=tuple(discover()))
    whole = plan(recipe, bars(), discover(), poured=pour(load_target("raspberry-pi-4")))
    files = {step.name for step in whole.steps if step.stage.gives in ("onnx", "tflite")}
    kept = [step for step in whole.steps if export or not {step.name, *step.inputs.values()} & files]
    return replace(whole, steps=tuple(kept))


def child(steps: Plan, root: Path, pipe: int) -> None:
    """Run the plan, telling each step that a stage takes: "name done total"."""

    def tell(step: Step, progress: Progress) -> None:
        os.write(pipe, f"{step.name} {progress.done} {progress.total}\n".encode())

    try:
        list(run(steps, bars(), Store(root), seed=0, name=NAME, watch=tell))
    except BaseException:  # noqa: BLE001 - a fork must not return into its parent's code, whatever happens
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def run_once(steps: Plan, root: Path, *, victim: str = "", taken: int = 0, late_s: float = 0.0) -> Kill | None:
    """Run in a process of its own; kill it `late_s` after its `taken`th step of `victim`. None when it ended well."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        child(steps, root, write)
    os.close(write)
    kill = None
    with os.fdopen(read, encoding="utf-8") as told:
        for line in told:
            name, at, total = line.split()
            taken -= name == victim
            if name == victim and taken == 0:
                until = time.perf_counter() + late_s
                while time.perf_counter() < until:
                    pass
                os.kill(process, signal.SIGKILL)
                kill = Kill(name, int(at), int(total))
                break
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status != (-signal.SIGKILL if kill else 0):
        raise SystemExit(f"a run ended with {status} instead of {'SIGKILL' if kill else 0}")
    return kill


def digests(root: Path) -> dict[str, str]:
    """Return each step's digest, every byte of it read again."""
    store = Store(root)
    found = {step: store.find(key) for step, key in store.last_plan(NAME).items()}
    return {step: made[1].digest if made else "missing" for step, made in sorted(found.items())}


def study(*, kills: int, seed: int, export: bool, folder: Path) -> dict[str, Any]:
    """Return what `main` prints."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    steps = small_plan(export=export)
    run_once(steps, folder / "peace")
    fallen: list[Kill] = []
    for victim in TRAINING_STEPS:
        for _ in range(kills):
            kill = run_once(
                steps,
                folder / "fire",
                victim=victim,
                taken=chance.randint(1, MOST_STEPS),
                late_s=chance.random() * 0.02,
            )
            if kill is None:
                raise SystemExit(f"{victim} ended before it could be killed")
            fallen.append(kill)
    run_once(steps, folder / "fire")
    peace, fire = digests(folder / "peace"), digests(folder / "fire")
    return {
        "seed": seed,
        "kills": [vars(kill) for kill in fallen],
        "equal": peace == fire,
        "steps": {name: {"peace": peace.get(name), "fire": fire.get(name)} for name in sorted({*peace, *fire})},
    }


def main() -> None:
    """Run the study and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5, help="in each of the four training stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export", action="store_true", help="go on to both files")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in HEAVY:  # once, before the forks
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        found = study(kills=options.kills, seed=options.seed, export=options.export, folder=Path(folder))
    text = json.dumps(found, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(0 if found["equal"] else 1)


if __name__ == "__main__":
    main()
