"""Machine: what makes training slow here, or the figures of the device `host` noisy."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.doctor.finding import Finding

CPU = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
BUSY = 0.25
"""Load for each core from which others are told to disturb a benchmark; what really did is seen and told by the benchmark."""
STEADY = "performance"


def findings() -> Iterator[Finding]:
    """Say how many threads this process may use, and whether the clock is steady."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield _cores(cores)
    yield _threads(cores)
    yield _governor()
    yield _load(cores)


def _cores(cores: int) -> Finding:
    found = f"{cores} of {os.cpu_count()}"
    quota = read_quota(_line(QUOTA))
    if quota is not None and quota < cores:
        advice = f"give threads and --workers no more than {max(1, int(quota))}"
        return Finding("cores", f"{found}, limited to the time of {quota:g}", "note", advice)
    return Finding("cores", found)


def read_quota(line: str) -> float | None:
    """Return how many cores' time a control group allows, "max 100000" none (Linux, cgroup-v2.rst, cpu.max)."""
    allowed, _, period = line.partition(" ")
    with suppress(ValueError, ZeroDivisionError):
        return int(allowed) / int(period)
    return None


def _threads(cores: int) -> Finding:
    about, told = "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS")
    if told is None:
        return Finding(about, "not set: a training takes its stage's `threads`, 1 where nothing is said")
    if not told.isdecimal() or int(told) < 1:
        return Finding(about, f"{told!r:.40}, which is no count and is ignored", "note", "unset it, or export a number")
    if int(told) > cores:
        return Finding(about, f"{told}, with {cores} cores", "note", f"export OMP_NUM_THREADS={cores}, or less")
    return Finding(about, told)


def _governor() -> Finding:
    about = "clock"
    governors = {_line(path) for path in CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    if not governors:
        return Finding(about, "the system doesn't tell its governor, as in a virtual machine")
    found = f"governor {', '.join(sorted(governors))}{', boost on' if _boosts() else ''}"
    if governors == {STEADY}:
        return Finding(about, found)
    return Finding(about, found, "note", f"benchmarks spread less with: cpupower frequency-set -g {STEADY}")


def _boosts() -> bool:
    """Say whether the clock may rise above its nominal one, where the system tells."""
    return _line(CPU / "cpufreq" / "boost") == "1" or _line(CPU / "intel_pstate" / "no_turbo") == "0"


def _load(cores: int) -> Finding:
    load = os.getloadavg()[0]
    found = f"{load:.1f} on average in the last minute"
    if load > BUSY * cores:
        return Finding("load", found, "note", "something else runs: benchmarks here will spread, or be invalid")
    return Finding("load", found)


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
