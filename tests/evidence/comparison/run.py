"""Compare a file with a copy of itself, and with one of half its width, again and again; count what `bench --against` says.

    python -m tests.evidence.comparison.run --case copy --runs 100 --machine quiet
    python -m tests.evidence.comparison.run --case half --runs 20 --machine busy
    python -m tests.evidence.comparison.run --read tests/evidence/comparison/results.json

Each run measures a pair as the command line does: the host's own turns, and `pipeline.bench.compare`. `busy` starts a
spinning process for each core; `as-it-is` starts none and doesn't mind what else runs. Processes are short (0.1 s of
samples), their number is the product's. A finished run is kept at once in --out, so that a stopped study goes on. Kept are the
medians of the processes, so that what other methods would have said of the same noise is said too: a percentile
bootstrap, and Student's t on the logarithms of the ratios. `forced` is the verdict without regard to validity.
"""

import argparse
import importlib.metadata
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from devices.host import Host
from devices.statistics import Interval, verdict_of
from devices.statistics import compare as compare_medians
from pipeline.bench import PAIRED, compare
from tests.bench_files import write_wide_onnx

OUT = Path(__file__).with_name("results.json")
REQUEST = replace(PAIRED, warmup_seconds=0.05, min_seconds=0.1)
WIDTH = 32
RESAMPLES = 1000
STUDENT_11 = 3.1058
"""The 99.5 % quantile of Student's t with 11 degrees of freedom: R 4.3, qt(0.995, 11)."""


def one_run(folder: Path, case: str) -> dict[str, Any]:
    """Measure a pair and return what is kept of it."""
    first = write_wide_onnx(folder / "first.onnx", WIDTH // 2 if case == "half" else WIDTH)
    second = write_wide_onnx(folder / "second.onnx", WIDTH)
    one, other = (quantities[0] for quantities in Host().measure([first, second], REQUEST))
    return {
        "at": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 2),
        "first_us": one.process_medians,
        "second_us": other.process_medians,
        "why_invalid": one.why_invalid or other.why_invalid,
        "verdict": compare(one, other).verdict,
    }


@contextmanager
def neighbours(*, busy: bool) -> Iterator[None]:
    """Keep every core busy with a spinning process until the block ends, where that is asked."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0) if busy]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def verdicts(run: dict[str, Any]) -> dict[str, str]:
    """Return what each method says of a run's medians."""
    first, second = np.array(run["first_us"]), np.array(run["second_us"])
    forced = compare_medians(run["first_us"], run["second_us"], interleaved=True).verdict
    ratios, count = first / second, len(first)
    drawn = np.median(np.random.default_rng(0).choice(ratios, (RESAMPLES, count)), axis=1)
    logs = np.log(ratios)
    half = STUDENT_11 * logs.std(ddof=1) / math.sqrt(count)
    by_student = Interval(1.0, math.exp(logs.mean() - half), math.exp(logs.mean() + half))
    by_bootstrap = Interval(1.0, *(float(bound) for bound in np.percentile(drawn, [0.5, 99.5])))
    return {
        "told": run["verdict"],
        "forced": forced,
        "bootstrap": verdict_of(by_bootstrap),
        "student": verdict_of(by_student),
    }


def flipped(runs: list[dict[str, Any]], times: int) -> dict[str, float]:
    """Return how often each method claims a difference when each pair's two medians change places by chance."""
    random, claims = np.random.default_rng(0), Counter[str]()
    for _ in range(times):
        run = runs[random.integers(len(runs))]
        pairs = np.array([run["first_us"], run["second_us"]])
        places = random.random(pairs.shape[1]) < 0.5
        changed = np.where(places, pairs, pairs[::-1])
        said = verdicts({"first_us": changed[0].tolist(), "second_us": changed[1].tolist(), "verdict": ""})
        claims.update(method for method, verdict in said.items() if verdict in ("faster", "slower"))
    return {method: claims[method] / times for method in ("forced", "bootstrap", "student")}


def summary(kept: dict[str, Any]) -> dict[str, Any]:
    """Return, for each case, how often each method said what."""
    found: dict[str, Any] = {}
    for name, case in kept.items():
        said = [verdicts(run) for run in case["runs"]]
        found[name] = {
            "runs": len(said),
            "invalid": sum(bool(run["why_invalid"]) for run in case["runs"]),
            **{
                method: dict(Counter(each[method] for each in said))
                for method in ("told", "forced", "bootstrap", "student")
            },
        }
        if name.startswith("copy"):
            found[name]["claims where pairs change places"] = flipped(case["runs"], 2000)
    return found


def study(case: str, machine: str, runs: int, out: Path) -> None:
    """Add runs to the file until the case has as many as were asked for."""
    kept: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    name = f"{case}, {machine}"
    entry = kept.setdefault(name, {**circumstances(), "runs": []})
    with neighbours(busy=machine == "busy"), tempfile.TemporaryDirectory() as folder:
        while len(entry["runs"]) < runs:
            entry["runs"].append(one_run(Path(folder), case))
            draft = out.with_suffix(".draft")
            draft.write_text(as_text(kept), encoding="utf-8")
            draft.replace(out)


def as_text(kept: dict[str, Any]) -> str:
    """Return the study as JSON with a line for each list of medians."""
    lists = re.compile(r"\[\s+([\d., \n]+?)\s+\]")
    return lists.sub(lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(kept, indent=1)) + "\n"


def circumstances() -> dict[str, Any]:
    """Return on what a case was made."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    return {
        "machine": Host().machine,
        "onnxruntime": importlib.metadata.version("onnxruntime"),
        "commit": commit.strip(),
        "command": " ".join(["python -m tests.evidence.comparison.run", *sys.argv[1:]]),
    }


def main() -> None:
    """Make runs, or read what was made; prints the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=("copy", "half"), default="copy")
    parser.add_argument("--machine", choices=("quiet", "busy", "as-it-is"), default="quiet")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--read", type=Path)
    options = parser.parse_args()
    if options.read is None:
        study(options.case, options.machine, options.runs, options.out)
    print(json.dumps(summary(json.loads((options.read or options.out).read_text(encoding="utf-8"))), indent=1))


if __name__ == "__main__":
    main()
