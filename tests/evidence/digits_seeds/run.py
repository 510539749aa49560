"""The digits recipe under five seeds, whole: teacher, student, controls, both files. What does the small model lose?

`run` makes each seed's files for the Raspberry Pi with the product's own command (without measuring latencies) and adds
their scores to `results.json`; it skips what that holds, and continues what was stopped. `table` prints the README's
figures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from os import environ
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SEEDS = range(1, 6)
TARGET = "raspberry-pi-4"
T_95 = 2.776
"""Student's t, two-sided, five values: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm."""


def main() -> None:
    """Run what is asked for and not there yet, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "digits_seeds")
    arguments = parser.parse_args()
    if arguments.what == "table":
        print(table(results()))
        return
    for seed in SEEDS:
        if seed not in {run["seed"] for run in results()}:
            found = result_of(seed, arguments.work)
            RESULTS.write_text(json.dumps([*results(), found], indent=1) + "\n", encoding="utf-8")
            print(json.dumps(found), flush=True)


def results() -> list[dict[str, Any]]:
    """Return all seeds so far."""
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return runs


def result_of(seed: int, work: Path) -> dict[str, Any]:
    """Run the recipe with one seed; return test scores, sizes and the gate's word."""
    command = [
        sys.executable,
        "-m",
        "pipeline.cli",
        "run",
        "digits",
        "--target",
        TARGET,
        "--out",
        str(work / str(seed)),
        "--json",
    ]
    command += ["--set", f"seed={seed}", "--set", "measure=false"]
    kept = {**environ, "EDGEPRESS_STORE": str(work / "store"), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(command, env=kept, stdout=subprocess.PIPE, text=True, check=True)
    report = json.loads(finished.stdout)[0]
    rows = {row["stage"]: row for row in (*report["rows"], *report["controls"])}
    return {
        "seed": seed,
        "scores": {name: row["score"]["value"] for name, row in rows.items()},
        "macs": {name: row["macs"] for name, row in rows.items()},
        "size_bytes": {name: row["size_bytes"] for name, row in rows.items()},
        "gate": report["fidelity"]["passed"],
        "commit": _commit(),
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for each row of the report: its mean test score, and how far the int8 file is above it, paired by seed."""
    lines = ["| model | mean test score, % | int8 TFLite above it, points (95 % interval) |", "|---|---|---|"]
    for name in runs[0]["scores"]:
        scores = [100 * run["scores"][name] for run in runs]
        apart = above(runs, name)
        half = T_95 * stdev(apart) / len(apart) ** 0.5
        lines.append(
            f"| {name} | {mean(scores):.2f} | {mean(apart):+.2f} ({mean(apart) - half:+.2f} to {mean(apart) + half:+.2f}) |"
        )
    return "\n".join(lines)


def above(runs: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return by how many points the int8 TFLite file scores above a row, for each seed."""
    return [100 * (run["scores"]["int8 tflite"] - run["scores"][name]) for run in runs]


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, cwd=FOLDER
    ).stdout.strip()


if __name__ == "__main__":
    main()
