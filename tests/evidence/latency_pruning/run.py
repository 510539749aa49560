"""Cutting by the target's own cost against cutting by multiply-accumulates, at the same counted cost on a Cortex-A72.

A taught student is cut to 35 % of its MACs; what the int8 file of that network then costs is counted on the emulated core. The same
student is cut again by the table of costs, until it costs no more than that; where more is counted then, once more, by as
much less as the table was wrong. Both are trained alike. `run` adds a line for each task, seed and way to `results.json` and skips what that holds;
`table` prints the README's figures.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from devices import open_device
from pipeline.architecture import load_network, macs_of
from pipeline.artifact import Artifact
from pipeline.batches import predict
from pipeline.pour import pour
from pipeline.stages import costs, distill, prune
from pipeline.stages.costs import CostsConfig
from pipeline.task import LoadedTask
from targets import load_target
from tests.evidence.distillation.cases import CASES, Case
from tests.evidence.distillation.run import commit, once, spoken
from tests.evidence.distillation.table import interval
from tests.small_stages import context_of

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
TARGET, QUANTITY, KEEP_MACS = "raspberry-pi-4", "instructions", 0.35
SEEDS = range(5)
WAYS = BY_MACS, BY_COST = "by MACs", "by cost"
TRAINING: Mapping[str, Mapping[str, Any]] = {"digits": {"epochs": 6}, "keywords": {"epochs": 8, "batch_size": 32}}


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "distillation_study")
    parser.add_argument("--tasks", nargs="*", default=list(TRAINING))
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    for name in arguments.tasks:
        for seed in SEEDS:
            for way in WAYS:
                if (name, seed, way) not in {(line["task"], line["seed"], line["way"]) for line in results()}:
                    told = {"task": name, "seed": seed, "way": way, **line(name, seed, way, arguments.work)}
                    told = {**told, "commit": commit()}
                    RESULTS.write_text(json.dumps([*results(), told], indent=1) + "\n", encoding="utf-8")
                    print(json.dumps(told), flush=True)


def results() -> list[dict[str, Any]]:
    """Return all lines so far."""
    lines: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return lines


def line(name: str, seed: int, way: str, work: Path) -> dict[str, Any]:
    """Return what one student is after one cut: its score, its MACs and its counted cost, beside those of the uncut student."""
    case = CASES[name]
    task = case.task(seed)
    measured = table_of(name, work)
    pruned = cut(name, case, task, way, work)
    network = load_network(pruned, task)
    return {
        "macs_share": pruned.facts["macs"] / pruned.facts["macs_before"],
        "macs": macs_of(network, task.example()),
        "cost": counted(pruned, task, name, work),
        "whole_cost": measured.facts["whole"],
        "foretold": pruned.facts.get("cost"),
        "channels": pruned.facts["channels"],
        "validation": pruned.facts["validation_score"],
        "score": task.score(predict(network, task, "test"), task.targets("test")),
    }


def table_of(name: str, work: Path) -> Artifact:
    """Return what the task's student's layers cost on the target: shapes alone count, so that all seeds share it."""
    settings = {field: getattr(_config(), field) for field in CostsConfig.model_fields}
    return once(costs.STAGE, CASES[name].task(), work / "latency" / name / "costs", {}, **settings)


def cut(name: str, case: Case, task: LoadedTask, way: str, work: Path) -> Artifact:
    """Return the student of a seed, taught by soft targets, cut one way and trained."""
    folder = work / name
    given = spoken(case, task, case.single, folder)
    student = {**case.student, **case.losses["soft targets"]}
    taught = once(distill.STAGE, task, folder / f"{task.seed}" / "soft-targets", given, seed=task.seed, **student)
    settings = {**TRAINING[name], **case.losses["soft targets"]}
    place = work / "latency" / name / f"{task.seed}"
    by_macs = {"network": taught, **given}
    first = once(prune.STAGE, task, place / "macs", by_macs, seed=task.seed, keep_macs=KEEP_MACS, **settings)
    if way == BY_MACS:
        return first
    limit = counted(first, task, name, work)
    asked = {**by_macs, "costs": table_of(name, work)}

    def by_cost(most: float, where: str) -> Artifact:
        return once(
            prune.STAGE, task, place / where, asked, seed=task.seed, until=f"{QUANTITY} = {most:.0f}", **settings
        )

    pruned = by_cost(limit, "cost")
    found = counted(pruned, task, name, work)
    return pruned if found <= limit else by_cost(limit * pruned.facts["cost"] / found, "cost-again")


def counted(pruned: Artifact, task: LoadedTask, name: str, work: Path) -> float:
    """Return what a network's int8 file costs, counted on the emulated core."""
    config = _config()
    place = work / "latency" / name / "counted" / pruned.digest[:12]
    if not (place / "cost.json").exists():
        device = open_device(config.device, config.profile)
        [told] = costs.costs_of_networks([load_network(pruned, task)], device, config, context_of(task, place))
        (place / "cost.json").write_text(json.dumps(told.value), encoding="utf-8")
    return float(json.loads((place / "cost.json").read_text(encoding="utf-8")))


def _config() -> CostsConfig:
    poured = pour(load_target(TARGET))["costs"]
    return CostsConfig.model_validate_json(json.dumps({**poured, "quantity": QUANTITY, "device": "qemu"}))


def table(lines: list[dict[str, Any]]) -> str:
    """Return a line for each task and way, and what lies between both."""
    rows = list(_rows(lines))
    head = "| task | cut | MACs | instructions | speed-up, counted | speed-up, MACs | ratio | test, % | by cost less by MACs, points (95 %) |"
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *rows])


def _rows(lines: list[dict[str, Any]]) -> Iterator[str]:
    for task in finished(lines):
        for way in WAYS:
            own = [each for each in lines if (each["task"], each["way"]) == (task, way)]
            macs, cost = (
                mean(each["macs_share"] for each in own),
                mean(each["cost"] / each["whole_cost"] for each in own),
            )
            low, value, high = difference(lines, task)
            told = f"{value:+.2f} ({low:+.2f} to {high:+.2f})" if way == BY_COST else ""
            score = 100 * mean(each["score"] for each in own)
            figures = f"{100 * macs:.1f} % | {100 * cost:.1f} % | {1 / cost:.2f}x | {1 / macs:.2f}x | {macs / cost:.2f}"
            yield f"| {task} | {way} | {figures} | {score:.2f} | {told} |"


def finished(lines: list[dict[str, Any]]) -> list[str]:
    """Return the tasks of which all seeds are there, both ways."""
    return [task for task in TRAINING if sum(each["task"] == task for each in lines) == len(SEEDS) * len(WAYS)]


def difference(lines: list[dict[str, Any]], task: str) -> tuple[float, float, float]:
    """Return by how many points the cut by cost is better, paired by seed: low, mean, high."""
    score = {(each["seed"], each["way"]): each["score"] for each in lines if each["task"] == task}
    return interval([100 * (score[seed, BY_COST] - score[seed, BY_MACS]) for seed in SEEDS])


if __name__ == "__main__":
    main()
