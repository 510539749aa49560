"""Work for an hour in one process, and watch what it holds: memory, file handles, threads, child processes, temporary files.

`python -m tests.evidence.trust.an_hour [--minutes 60] [--out results.json]`

Each round compresses a small task anew (another seed, so that nothing is found in the store), in every fifth round measures the files on this machine, judges them by `check`, packs and
verifies the archive, and empties the store. What the process holds is read after each round. The curve must be flat: the median of the last quarter against that of the second,
once caches are filled.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from pipeline.api import compress
from pipeline.archive.pack import pack
from pipeline.archive.verify import verify
from pipeline.checks.judgement import judge_file
from pipeline.store import default_store
from tests.small_task import Bars

TARGET = "raspberry-pi-4"
GROWTH_MIB = 20.0
"""The resident memory may grow by so much between the second and the last quarter: the allocator's pools breathe."""
MEASURED = 5
"""Every fifth round measures its files: that takes most of a minute, and little of this process."""
SETTINGS: dict[str, Any] = {
    "stages": ["teach", "distill", "prune", "quantize", "export"],
    "controls": False,
    "audit": {"on_weak": "skip"},
    **{stage: {"epochs": 2, "batch_size": 16} for stage in ("teach", "distill", "quantize")},
    "prune": {"epochs": 2, "batch_size": 16, "channel_multiple": 1, "largest_drop": 0.99},
}


def main() -> None:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEPRESS_STORE"] = str(Path(folder) / "store")
        tempfile.tempdir = os.environ["TMPDIR"] = str(Path(folder) / "tmp")
        Path(tempfile.tempdir).mkdir()
        curve = work(Path(folder), asked.minutes * 60)
    result = {"minutes": asked.minutes, "rounds": len(curve), **judged(curve), "curve": curve}
    text = json.dumps(result, indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(0 if result["flat"] else 1)


def work(folder: Path, seconds: float) -> list[dict[str, float]]:
    """Return what the process held after each round."""
    started, curve = time.monotonic(), list[dict[str, float]]()
    while time.monotonic() - started < seconds:
        round_of(folder, len(curve))
        gc.collect()
        curve.append({"minute": round((time.monotonic() - started) / 60, 2), **held(Path(tempfile.gettempdir()))})
        print(json.dumps(curve[-1]), file=sys.stderr, flush=True)
    return curve


def round_of(folder: Path, seed: int) -> None:
    """Do once all that a day's work does."""
    out = folder / "out"
    measured = seed % MEASURED == 0
    [report] = compress(Bars(samples=60), [TARGET], out, {**SETTINGS, "seed": seed, "measure": measured}).values()
    assert bool(report.measurements) == measured
    for name in ("model.onnx", "model.tflite"):
        judge_file(out / TARGET / name)
    found = verify(pack(out / TARGET, out=folder / "bars.edgepress"))
    assert found.passed, found.problems
    shutil.rmtree(default_store())
    shutil.rmtree(out)


def held(temporary: Path) -> dict[str, float]:
    """Return what this process holds now."""
    process = psutil.Process()
    return {
        "rss_mib": round(process.memory_info().rss / 2**20, 1),
        "handles": process.num_fds(),
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
        "temporary_files": sum(1 for _ in temporary.rglob("*")),
    }


def judged(curve: list[dict[str, float]]) -> dict[str, Any]:
    """Say whether the last quarter holds more than the second."""
    quarter = max(1, len(curve) // 4)
    early, late = curve[quarter : 2 * quarter] or curve, curve[-quarter:]
    growth = {
        name: statistics.median(row[name] for row in late) - statistics.median(row[name] for row in early)
        for name in curve[0]
        if name != "minute"
    }
    allowed = {name: GROWTH_MIB if name == "rss_mib" else 0 for name in growth}
    return {"growth": growth, "flat": all(growth[name] <= allowed[name] for name in growth)}


if __name__ == "__main__":
    main()
