"""Machine: what makes training slow here, or the figures of the device `host` noisy."""

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.doctor.finding import Finding

CPU = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")
GPUS = Path("/proc/driver/nvidia/gpus")
BUSY = 0.25
"""Load for each core from which others are told to disturb a benchmark; what really did is seen and told by the benchmark."""
STEADY = "performance"


def findings() -> Iterator[Finding]:
    """Say how many threads this process may use, on what it can train, and whether the clock is steady."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield _cores(cores)
    yield _threads(cores)
    yield _gpus()
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


def _gpus() -> Finding:
    """Tell NVIDIA's GPUs, and whether the installed torch was built for them; torch isn't imported for that."""
    models = [
        line.partition(":")[2].strip()
        for gpu in sorted(GPUS.glob("*/information"))
        for line in _line(gpu).splitlines()
        if line.startswith("Model:")
    ]
    if not models:
        return Finding("GPU", "none of NVIDIA's, so trainings run on the processor")
    if not _torch_knows_cuda():
        advice = "install a torch with CUDA to train there with accelerator = 'cuda'"
        return Finding("GPU", f"{', '.join(models)}, which the installed torch can't use", "note", advice)
    return Finding("GPU", f"{', '.join(models)}; accelerator = 'cuda' in a recipe's [train] trains there")


def _torch_knows_cuda() -> bool:
    """Wheels with CUDA say so in their version ("2.13.0+cu130"), or ask for NVIDIA's libraries."""
    try:
        torch = importlib.metadata.distribution("torch")
    except importlib.metadata.PackageNotFoundError:
        return False
    return "+cu" in torch.version or any(name.startswith("nvidia") for name in torch.requires or ())


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
