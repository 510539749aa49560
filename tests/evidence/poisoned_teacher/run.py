"""One good teacher and one poisoned: does weighing by sample keep the student as good as the good teacher alone makes it?

`run` trains the digits' ResNet-20 once, poisons copies of what it says, and lets the DS-CNN learn from both, five seeds each; it
adds test scores to `results.json`, skips what that holds, and continues what was stopped. `table` prints the README's figures.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.batches import predict
from pipeline.recorded_outputs import create_outputs, read_outputs
from pipeline.stage import Stage
from pipeline.stages import distill, outputs, teach
from pipeline.task import LoadedTask
from pipeline.tasks import digits
from tests.small_stages import make

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SEEDS = range(5)
SETTINGS = {"epochs": 6, "views": 4}
RULES = ("mean", "agreement", "learned")
JUDGED = "agreement"
"""The rule that the claim is about, named before any run; the others stand beside it."""
LOUDER = 20.0
T_95 = 2.776
"""Student's t, two-sided, five values: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm."""

Floats = NDArray[np.float32]
POISONS: dict[str, Callable[[Floats], Floats]] = {
    "swapped classes": lambda logits: np.roll(logits, 1, axis=-1),
    "noise": lambda logits: np.random.default_rng(0).permuted(logits, axis=-1),
    "over-confidence": lambda logits: LOUDER * logits,
}
"""Fixed beforehand. Noise keeps the numbers of each answer and shuffles them among the classes."""


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "poisoned_teacher")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    for seed in arguments.seeds:
        for poison, rule in cases():
            known = {(run["seed"], run["poison"], run["rule"]) for run in results()}
            if (seed, poison, rule) not in known:
                score = score_of(seed, poison, rule, arguments.work)
                found = {"seed": seed, "poison": poison, "rule": rule, "score": score, "commit": _commit()}
                RESULTS.write_text(json.dumps([*results(), found], indent=1) + "\n", encoding="utf-8")
                print(json.dumps(found), flush=True)


def cases() -> list[tuple[str, str]]:
    """Return each poison with each rule, and the good teacher alone."""
    return [("none", "mean"), *((poison, rule) for poison in POISONS for rule in RULES)]


def results() -> list[dict[str, Any]]:
    """Return all runs so far."""
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return runs


def score_of(seed: int, poison: str, rule: str, work: Path) -> float:
    """Return the test score of a student that one seed draws and orders."""
    task = LoadedTask(raw=digits.task, root=Path(digits.__file__).parent, seed=seed)
    inputs = spoken(task, work, seed)
    if poison != "none":
        inputs |= {
            f"{name.partition(':')[0]}:poisoned": poisoned(artifact, poison, work / f"{seed}" / poison / name)
            for name, artifact in inputs.items()
        }
    made = _once(
        distill.STAGE, task, work / f"{seed}" / f"{poison}-{rule}", inputs, seed=seed, weighting=rule, **SETTINGS
    )
    return task.score(predict(load_network(made, task), task, "test"), task.targets("test"))


def spoken(task: LoadedTask, work: Path, seed: int) -> dict[str, Artifact]:
    """Return what the good teacher says of both splits, in the views that this seed makes."""
    taught = LoadedTask(raw=digits.task, root=task.root)
    network = _once(teach.STAGE, taught, work / "teacher", {}, seed=0, teacher="resnet20")
    given = {"model": network}
    train = _once(
        outputs.STAGE, task, work / f"{seed}" / "train", given, seed=seed, split="train", views=SETTINGS["views"]
    )
    validation = _once(outputs.STAGE, task, work / f"{seed}" / "validation", given, seed=seed, split="validation")
    return {"teacher_outputs:good": train, "teacher_validation:good": validation}


def poisoned(artifact: Artifact, poison: str, folder: Path) -> Artifact:
    """Return recorded answers as a poisoned teacher would give them."""
    if not (folder / "artifact.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        said = read_outputs(artifact)[0]
        [file] = create_outputs(folder, [said.shape])
        file[:] = POISONS[poison](np.asarray(said))
        file.flush()
        write_manifest(folder, "outputs", artifact.facts)
    return open_artifact(folder)


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each poison and rule: mean test score, and how far it is from the good teacher alone, paired by seed."""
    alone = {run["seed"]: 100 * run["score"] for run in runs if run["poison"] == "none"}
    lines = [
        f"Good teacher alone: {mean(alone.values()):.2f} %",
        "",
        "| poison | weighting | mean test score, % | against the good teacher alone, points (95 % interval) |",
        "|---|---|---|---|",
    ]
    for poison, rule in cases()[1:]:
        scores = {run["seed"]: 100 * run["score"] for run in runs if (run["poison"], run["rule"]) == (poison, rule)}
        apart = [score - alone[seed] for seed, score in scores.items()]
        half = T_95 * stdev(apart) / len(apart) ** 0.5
        told = f"{mean(apart):+.2f} ({mean(apart) - half:+.2f} to {mean(apart) + half:+.2f})"
        lines.append(f"| {poison} | {rule} | {mean(scores.values()):.2f} | {told} |")
    return "\n".join(lines)


def _once(stage: Stage, task: LoadedTask, folder: Path, inputs: Mapping[str, Artifact], **settings: Any) -> Artifact:
    """Run a stage, or open what an earlier run left."""
    if (folder / "out" / "artifact.json").exists():
        return open_artifact(folder / "out")
    shutil.rmtree(folder / "out", ignore_errors=True)
    return make(stage, task, folder, inputs, **settings)


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=FOLDER
    ).stdout.strip()


if __name__ == "__main__":
    main()
