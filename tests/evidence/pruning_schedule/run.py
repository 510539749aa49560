"""What half the MACs cost: the prune stage against cutting once and late, and against not cutting, at equal optimiser steps.

Each flow ends in an int8 program (the quantize stage, calibration alone) and is judged by the task's own score.

- unpruned: distil for all epochs.
- ours: distil, then the prune stage, both with their defaults but for what `SETTINGS` names.
- book: distil on 60 % of the epochs; torch-pruning's own pruner (global group magnitude, channels by 8, until at most
  half the MACs are left); the other 40 % at half the rate.

`choose` tries the same rates for each flow on the quarter's validation split; `judge` trains each flow at its best rate with five
seeds on both, and looks at the test split. Both add to `results.json` run by run, and skip what it holds. `table` prints the
figures of the README.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

from pipeline.architecture import load_network, macs_of, parameters_of, save_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.batches import evaluate
from pipeline.quantization.source import program_of
from pipeline.stage import Context, Progress, Stage
from pipeline.stages import distill, outputs, prune, quantize, teach
from pipeline.task import LoadedTask
from pipeline.tasks import digits

FOLDER = Path(__file__).parent
TASKS = {"full": {"train_fraction": 1.0, "epochs": 12}, "quarter": {"train_fraction": 0.25, "epochs": 40}}
"""564 and 480 optimiser steps, whatever the flow."""
RATES = (8e-3, 16e-3, 32e-3)
BOOK = {"distilled": 0.6, "rate": 0.5, "keep_macs": 0.5, "channel_multiple": 8}
SEEDS = range(5, 10)
RESULTS = FOLDER / "results.json"
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t, two-sided, by the number of values: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm."""


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("choose", "judge", "table"))
    parser.add_argument("--students", nargs="+", choices=tuple(digits.STUDENTS), default=("dscnn",))
    parser.add_argument("--flows", nargs="+", choices=tuple(FLOWS), default=tuple(FLOWS))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "pruning_schedule")
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    seeds, tasks = ((0,), ("quarter",)) if arguments.what == "choose" else (SEEDS, TASKS)
    for seed, student, task, flow in product(seeds, arguments.students, tasks, arguments.flows):
        rates = RATES if arguments.what == "choose" else (chosen_rate(results(), student, flow),)
        for rate in rates:
            run = {"what": arguments.what, "student": student, "flow": flow, "task": task, "seed": seed, "rate": rate}
            _once(run, arguments.work)


def results() -> list[dict[str, Any]]:
    """Return all runs so far."""
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return runs


def chosen_rate(runs: Sequence[Mapping[str, Any]], student: str, flow: str) -> float:
    """Return the rate with the least validation loss among those that were tried."""
    tried = [run for run in runs if (run["what"], run["student"], run["flow"]) == ("choose", student, flow)]
    return float(min(tried, key=lambda run: run["validation"]["loss"])["rate"])


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each student, task and flow: mean int8 test score, and its paired difference to the unpruned one."""
    lines = [
        "| student | task | flow | rate | MACs | int8 test, % | against unpruned, points (95 % interval) |",
        "|---|---|---|---|---|---|---|",
    ]
    judged = [run for run in runs if run["what"] == "judge"]
    for student, task, flow in dict.fromkeys((run["student"], run["task"], run["flow"]) for run in judged):
        mine = {
            run["seed"]: run for run in judged if (run["student"], run["task"], run["flow"]) == (student, task, flow)
        }
        whole = {
            run["seed"]: run
            for run in judged
            if (run["student"], run["task"], run["flow"]) == (student, task, "unpruned")
        }
        scores = [100 * run["test"]["int8"] for run in mine.values()]
        apart = [
            100 * (run["test"]["int8"] - whole[seed]["test"]["int8"]) for seed, run in mine.items() if seed in whole
        ]
        macs = " to ".join(
            f"{count / 1e6:.2f} M"
            for count in sorted({min(run["macs"] for run in mine.values()), max(run["macs"] for run in mine.values())})
        )
        rate = next(iter(mine.values()))["rate"]
        lines.append(
            f"| {student} | {task} | {flow} | {rate} | {macs} | {mean(scores):.2f} | {mean(apart):+.2f} ({interval(apart)}) |"
        )
    return "\n".join(lines)


def interval(values: Sequence[float]) -> str:
    """Return Student's 95 % interval of a mean, five values or fewer."""
    if len(values) < 2:
        return "one seed"
    half = T_95[len(values)] * stdev(values) / len(values) ** 0.5
    return f"{mean(values) - half:+.2f} to {mean(values) + half:+.2f}"


def _once(what: Mapping[str, Any], work: Path) -> None:
    if any(what.items() <= run.items() for run in results()):
        return
    began = time.perf_counter()
    found = {**what, **result_of(what, work, judged=what["what"] == "judge")}
    found["seconds"] = round(time.perf_counter() - began)
    RESULTS.write_text(json.dumps([*results(), found], indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)


def result_of(what: Mapping[str, Any], work: Path, *, judged: bool) -> dict[str, Any]:
    """Train one flow with one seed; the test split is looked at only when it is judged."""
    task = task_of(what["student"], what["task"])
    inputs = supervision_of(work, what["task"], what["seed"], task)
    folder = work / "runs" / "-".join(str(what[part]) for part in ("student", "task", "flow", "seed", "rate"))
    network = FLOWS[what["flow"]](folder, inputs, task, what)
    program, _, _ = program_of(
        made(quantize.STAGE, task, folder / "int8", {"network": network}, seed=what["seed"], epochs=0), task
    )
    module = load_network(network, task)
    validation = evaluate(module, task)
    found = {
        "macs": macs_of(module, task.example()),
        "parameters": parameters_of(module),
        "validation": {"score": validation.score, "loss": validation.loss, "int8": evaluate(program, task).score},
        "commit": _commit(),
    }
    if judged:
        found["test"] = {"float": evaluate(module, task, "test").score, "int8": evaluate(program, task, "test").score}
    return found


def unpruned(folder: Path, inputs: Mapping[str, Artifact], task: LoadedTask, what: Mapping[str, Any]) -> Artifact:
    """Distil for all epochs."""
    epochs = TASKS[what["task"]]["epochs"]
    return made(
        distill.STAGE, task, folder / "distilled", inputs, seed=what["seed"], epochs=epochs, learning_rate=what["rate"]
    )


def ours(folder: Path, inputs: Mapping[str, Artifact], task: LoadedTask, what: Mapping[str, Any]) -> Artifact:
    """Distil for a part of the epochs, prune in the rest."""
    epochs, rate, seed = TASKS[what["task"]]["epochs"], what["rate"], what["seed"]
    first = round(DISTILLED * epochs)
    student = made(distill.STAGE, task, folder / "distilled", inputs, seed=seed, epochs=first, learning_rate=rate)
    heard = {**inputs, "network": student}
    return made(prune.STAGE, task, folder / "pruned", heard, seed=seed, epochs=epochs - first, learning_rate=rate)


DISTILLED = 0.25
"""Share of the epochs before the cut."""


def book(folder: Path, inputs: Mapping[str, Artifact], task: LoadedTask, what: Mapping[str, Any]) -> Artifact:
    """Distil on 60 %, cut once, recover on 40 % at half the rate."""
    epochs, rate, seed = TASKS[what["task"]]["epochs"], what["rate"], what["seed"]
    first = round(BOOK["distilled"] * epochs)
    student = made(distill.STAGE, task, folder / "distilled", inputs, seed=seed, epochs=first, learning_rate=rate)
    cut = folder / "cut"
    if not (cut / "artifact.json").exists():
        cut.mkdir(parents=True, exist_ok=True)
        network = cut_by_torch_pruning(load_network(student, task), task)
        save_network(network, cut, constructor="student", fresh=task.student())
        write_manifest(cut, "network", {})
    heard = {**inputs, "network": open_artifact(cut)}
    return made(
        distill.STAGE,
        task,
        folder / "recovered",
        heard,
        seed=seed,
        epochs=epochs - first,
        learning_rate=BOOK["rate"] * rate,
    )


def cut_by_torch_pruning(module: nn.Module, task: LoadedTask) -> nn.Module:
    """Return what torch-pruning's own pruner leaves: the first of two hundred steps with at most the wanted MACs."""
    import torch_pruning  # as the product does

    example = task.example()
    wanted = BOOK["keep_macs"] * macs_of(module, example)
    pruner = torch_pruning.pruner.BasePruner(
        module,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=True,
        pruning_ratio=0.95,
        max_pruning_ratio=0.75,
        iterative_steps=200,
        round_to=BOOK["channel_multiple"],
        ignored_layers=[[part for part in module.modules() if isinstance(part, nn.Linear)][-1]],
    )
    while macs_of(module, example) > wanted:
        pruner.step()
    return module


FLOWS = {"unpruned": unpruned, "ours": ours, "book": book}


def task_of(student: str, name: str) -> LoadedTask:
    """Return the digits task with a student and a share of the training pictures."""
    raw = digits.Digits(student, train_fraction=float(TASKS[name]["train_fraction"]))
    return LoadedTask(raw=raw, root=Path(digits.__file__).parent)


def supervision_of(work: Path, name: str, seed: int, task: LoadedTask) -> dict[str, Artifact]:
    """Return the teacher's answers on one seed's views. It learns from all pictures, and once."""
    teacher = made(teach.STAGE, task_of("dscnn", "full"), work / "teacher", {}, seed=0, teacher="resnet20")
    folder = work / f"answers-{name}-{seed}"
    views = distill.DistillConfig().views
    return {
        "teacher_outputs:resnet20": made(
            outputs.STAGE, task, folder, {"model": teacher}, seed=seed, split="train", views=views
        )
    }


def made(
    stage: Stage, task: LoadedTask, folder: Path, inputs: Mapping[str, Artifact], *, seed: int, **settings: Any
) -> Artifact:
    """Run a stage in a folder, or read what it left there; training goes on where it was stopped."""
    out, scratch = folder / "out", folder / "scratch"
    if (out / "artifact.json").exists():
        return open_artifact(out)
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    context = Context(task=task, seed=seed, out=out, scratch=scratch, progress=_silent)
    write_manifest(out, stage.gives, stage.run(inputs, stage.config(**settings), context))
    return open_artifact(out)


def _silent(progress: Progress) -> None:  # the name is the protocol's
    """Say nothing."""


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=FOLDER
    ).stdout.strip()  # the git on the path


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
