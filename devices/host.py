"""This machine as a device: fresh processes of `runner.py`, each pinned to the cores that did least a moment ago.

How they take turns, and when one counts as disturbed, is in `turns.py`.
"""

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from devices import Measurement, Request
from devices.layer_times import LayerTime, read_profile
from devices.sandbox import Limits, check_name, explain, run_python
from devices.turns import (
    RUNNER,
    Turn,
    is_tflite,
    measurements,
    read_turn,
    runner_arguments,
    take_turns,
    wall_seconds,
)
from pipeline.errors import DeviceError, RefusedError
from targets import Target

IDLE_WINDOW_SECONDS = 0.05
PROFILED_RUNS = 40


class Host:
    """The machine that this process runs on."""

    name = "host"

    @property
    def machine(self) -> str:
        """The processor's name and how many cores this process may use."""
        return f"{_processor()}, {len(cores())} cores, {platform.system()} {platform.machine()}"

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime for a file's format and its installed version."""
        name, distribution = ("litert", "ai-edge-litert") if is_tflite(model) else ("onnxruntime", "onnxruntime")
        try:
            return name, version(distribution)
        except PackageNotFoundError as error:
            raise DeviceError(
                f"host can't run {model.name}: {distribution} isn't installed; pip install {distribution}"
            ) from error

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files in turns."""
        turns = take_turns(models, request.processes, lambda model: _turn(model, request))
        return measurements(models, turns, request, device=self.name, machine=self.machine)

    def layers(self, model: Path, request: Request) -> tuple[LayerTime, ...]:
        """Return what each node takes, by a run of its own; RefusedError for a TFLite file, whose runtime doesn't tell."""
        if is_tflite(model):
            raise RefusedError("LiteRT's Python interpreter times no layers; --per-layer takes .onnx files", model)
        with tempfile.TemporaryDirectory(prefix="edgepress-profile-") as folder:
            short = replace(
                request, warmup_seconds=0.0, min_seconds=0.0, min_runs=PROFILED_RUNS, max_runs=PROFILED_RUNS
            )
            _run(model, short, "--profile", str(Path(folder, "times")))
            return read_profile(next(Path(folder).glob("times*.json"), Path(folder, "none")))


def connect(spec: str, _target: Target | None) -> Host:
    """Return this machine; its spec is "host" and nothing more."""
    if spec != "host":
        raise DeviceError(f"no device {spec!r}; this machine is 'host', without anything behind it")
    return Host()


def state() -> str:
    """Say which runtimes are installed."""
    found = []
    for distribution in ("ai-edge-litert", "onnxruntime"):
        with suppress(PackageNotFoundError):
            found.append(f"{distribution} {version(distribution)}")
    return ", ".join(found)


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _turn(model: Path, request: Request) -> Turn:
    return read_turn(_run(model, request), model)


def _run(model: Path, request: Request, *more: str) -> str:
    check_name(model)
    arguments = runner_arguments(str(model), request, cores=_idlest(request.threads), inputs=request.inputs)
    finished = run_python(RUNNER, [*arguments, *more], limits=Limits(wall_seconds=wall_seconds(request)))
    if not finished.ok:
        raise DeviceError(f"host can't run {model.name}: it {explain(finished)}")
    return finished.stdout


def _idlest(count: int) -> list[int]:
    """Return the cores that did least in a short moment, best first, as many as there are threads."""
    allowed = cores()
    before = _busy_ticks()
    time.sleep(IDLE_WINDOW_SECONDS)
    after = _busy_ticks()
    ranked = sorted(allowed, key=lambda core: (after.get(core, 0) - before.get(core, 0), -core))
    return sorted(ranked[: max(1, min(count, len(allowed)))])


def _busy_ticks() -> dict[int, int]:
    """Return the clock ticks that each core spent at work since it started; empty where the system doesn't say."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.startswith("cpu") and not line.startswith("cpu ")]
    return {
        int(field[0][3:]): sum(map(int, field[1:])) - int(field[4]) - int(field[5]) for field in fields
    }  # 4: idle, 5: waiting for a disk


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part"))]
    return names[0] if names else "unknown processor"
