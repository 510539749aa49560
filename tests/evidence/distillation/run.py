"""Does distilling pay? A student alone, taught by one teacher in several ways, by several averaged, by several weighed by sample.

`run` trains what `results.json` doesn't hold yet, five seeds of each arm of each task, and continues what was stopped; beside each
seed's students it asks the audit for its forecast. `table` prints the README's figures.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.architecture import load_network
from pipeline.artifact import Artifact, open_artifact
from pipeline.batches import predict
from pipeline.meaning import meaning_of
from pipeline.stage import Stage, discover
from pipeline.stages import audit, distill, outputs
from pipeline.task import LoadedTask
from tests.evidence.distillation.cases import CASES, Case
from tests.evidence.distillation.table import table
from tests.small_stages import make

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SEEDS = range(5)
AUDIT = "audit"


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "distillation_study")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--tasks", nargs="*", default=list(CASES))
    parser.add_argument("--arms", nargs="*", default=[], help="these alone, in this order")
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    for seed in arguments.seeds:
        for name in arguments.tasks:
            for arm in arguments.arms or (*CASES[name].arms, AUDIT):
                if (name, seed, arm) not in {(run["task"], run["seed"], run["arm"]) for run in results()}:
                    _keep({"task": name, "seed": seed, "arm": arm, **found(name, seed, arm, arguments.work)})


def results() -> list[dict[str, Any]]:
    """Return all runs so far."""
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return runs


def found(name: str, seed: int, arm: str, work: Path) -> dict[str, Any]:
    """Return the scores of one student, or the audit's word."""
    case = CASES[name]
    folder = work / name.replace(", ", "-").replace(" ", "-")
    task = case.task(seed)
    heard, settings = case.arms["soft targets" if arm == AUDIT else arm]
    given = {key: artifact for who in heard for key, artifact in spoken(case, task, who, folder).items()}
    chosen = {**case.student, **settings}
    where = folder / f"{seed}" / arm.replace(" ", "-")
    if arm == AUDIT:
        asked = {f"model:{who}": taught(case, who, folder) for who in heard}
        told = once(audit.STAGE, task, where, {**given, **asked}, seed=seed, **{**chosen, "epochs": 1}).facts
        return {"verdict": told["verdict"], "gain": told["probe"]["gain"], "ahead": told["ahead"]}
    made = once(distill.STAGE, task, where, given, seed=seed, **chosen)
    score = task.score(predict(load_network(made, task), task, "test"), task.targets("test"))
    return {"validation": made.facts["validation_score"], "score": score}


def taught(case: Case, who: str, folder: Path) -> Artifact:
    """Return a teacher, trained once or taken from its file."""
    task = case.task()
    teacher = task.teachers()[who]
    stages = discover()
    if teacher.file_kind:
        return once(stages[f"file_{teacher.file_kind}"], task, folder / who, {}, teacher=who)
    return once(stages["teach"], task, folder / who, {}, seed=0, teacher=who, **case.teach)


def spoken(case: Case, task: LoadedTask, who: str, folder: Path) -> dict[str, Artifact]:
    """Return what a distilling stage takes of a teacher: itself, and what it says of both splits as this seed shows them."""
    model = taught(case, who, folder)
    means = meaning_of(who, task)
    about = {name: getattr(means, name) for name in ("answers", "outputs", "classes", "class_count")}
    where = folder / f"{task.seed}" / f"said-{who}"
    views = case.student.get("views", distill.STAGE.config.model_fields["views"].default)
    train, validation = (
        once(
            outputs.STAGE,
            task,
            where / split,
            {"model": model},
            seed=task.seed,
            split=split,
            views=views if split == "train" else 1,
            **about,
        )
        for split in ("train", "validation")
    )
    network = {f"teacher:{who}": model} if model.kind == "network" else {}
    return {f"teacher_outputs:{who}": train, f"teacher_validation:{who}": validation, **network}


def once(stage: Stage, task: LoadedTask, folder: Path, inputs: Mapping[str, Artifact], **settings: Any) -> Artifact:
    """Run a stage, or open what an earlier run left."""
    if (folder / "out" / "artifact.json").exists():
        return open_artifact(folder / "out")
    shutil.rmtree(folder / "out", ignore_errors=True)
    return make(stage, task, folder, inputs, **settings)


def _keep(run: dict[str, Any]) -> None:
    told = {**run, "commit": commit()}
    RESULTS.write_text(json.dumps([*results(), told], indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told), flush=True)


def commit() -> str:
    """Return the short hash of what is checked out."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=FOLDER
    ).stdout.strip()


if __name__ == "__main__":
    main()
