"""The study's table: each arm against the student alone, paired by seed, in words as well; and how often the audit was right."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from scipy.stats import t

from tests.evidence.distillation.cases import CASES

Runs = Sequence[Mapping[str, Any]]
CONFIDENCE = 0.95
SEEDS = 5


def table(runs: Runs) -> str:
    """Return the whole text."""
    return "\n\n".join(["\n".join(rows(runs)), "\n".join(audits(runs)), audit_in_words(runs)])


def rows(runs: Runs) -> Iterator[str]:
    """Give a line for each task and arm; the best single loss is chosen by validation."""
    yield "| task | student | validation, % | test, % | against the student alone, points (95 % interval) | in words |"
    yield "|---|---|---|---|---|---|"
    for task in known(runs):
        chosen = best_single(runs, task)
        for arm in finished(runs, task):
            test, validation = by_seed(runs, task, arm), by_seed(runs, task, arm, "validation")
            name = f"{arm} (best single by validation)" if arm == chosen else arm
            told = "| | |" if arm == "alone" else "| {} | {} |".format(*_against(difference(runs, task, arm)))
            yield f"| {task} | {name} | {100 * mean(validation.values()):.2f} | {100 * mean(test.values()):.2f} {told}"


def audits(runs: Runs) -> Iterator[str]:
    """Give a line for each task: what the audit foretold on each seed, and what came of soft targets."""
    yield "| task | the audit's verdicts | gain in its probe, points | gain that came with soft targets, points | verdicts that were right |"
    yield "|---|---|---|---|---|"
    for task in audited(runs):
        told = [run for run in runs if (run["task"], run["arm"]) == (task, "audit")]
        verdicts = [run["verdict"] for run in told]
        counted = ", ".join(f"{verdicts.count(name)} x {name}" for name in sorted(set(verdicts)))
        probe = mean(100 * run["gain"]["value"] for run in told)
        low, value, high = difference(runs, task, "soft targets")
        yield f"| {task} | {counted} | {probe:+.2f} | {value:+.2f} ({low:+.2f} to {high:+.2f}) | {hits(runs, task)} of {len(told)} |"


def audit_in_words(runs: Runs) -> str:
    """Return the hit rate over all tasks."""
    right = sum(hits(runs, task) for task in audited(runs))
    count = sum(run["arm"] == "audit" and run["task"] in audited(runs) for run in runs)
    return f"The audit was right in {right} of {count} cases: it foretold a gain where one came with soft targets, none where none could be shown."


def hits(runs: Runs, task: str) -> int:
    """Return how often the audit foretold a gain where the interval lies above zero, and none where it doesn't."""
    came = difference(runs, task, "soft targets")[0] > 0
    return sum(
        (run["verdict"] == "worth learning from") == came
        for run in runs
        if (run["task"], run["arm"]) == (task, "audit")
    )


def known(runs: Runs) -> list[str]:
    """Return the tasks of which the student alone and soft targets are finished."""
    return [task for task in CASES if {"alone", "soft targets"} <= set(finished(runs, task))]


def finished(runs: Runs, task: str) -> list[str]:
    """Return the arms that were run on all seeds."""
    return [arm for arm in CASES[task].arms if len(by_seed(runs, task, arm)) == SEEDS]


def audited(runs: Runs) -> list[str]:
    """Return the tasks that the audit judged on all seeds."""
    return [task for task in known(runs) if len(by_seed(runs, task, "audit", "verdict")) == SEEDS]


def best_single(runs: Runs, task: str) -> str:
    """Return the single teacher's loss with the best mean validation score."""
    single = [arm for arm in finished(runs, task) if arm in CASES[task].losses]
    return max(single, key=lambda arm: mean(by_seed(runs, task, arm, "validation").values()))


def by_seed(runs: Runs, task: str, arm: str, what: str = "score") -> dict[int, Any]:
    """Return scores by seed, in [0, 1], or what else a run says."""
    return {run["seed"]: run[what] for run in runs if (run["task"], run["arm"]) == (task, arm)}


def difference(runs: Runs, task: str, arm: str) -> tuple[float, float, float]:
    """Return low, mean and high of an arm's test score less that of the student alone, in points, by Student's t over the seeds."""
    alone, taught = by_seed(runs, task, "alone"), by_seed(runs, task, arm)
    apart = [100 * (taught[seed] - alone[seed]) for seed in sorted(alone.keys() & taught.keys())]
    return interval(apart)


def interval(apart: Sequence[float]) -> tuple[float, float, float]:
    """Return low, mean and high of paired differences: 95 %, by Student's t."""
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
    return mean(apart) - half, mean(apart), mean(apart) + half


def _against(found: tuple[float, float, float]) -> tuple[str, str]:
    low, value, high = found
    word = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})", word
