"""This machine as a device: fresh processes of `runner.py`, pinned, in turns, each judged for being left alone.

A process was disturbed when it got less than 95 % of the processor that it asked for (two spinning neighbours made a
median of 11 ms into 35 ms, with a share of 0.33), or when the other cores were at work most of the time: they share caches
and memory, and on a virtual machine often the core itself, which made 0.35 ms into 0.55 ms with a share of 1.0. It is run
once more, as many times in all as there are rounds, before the measurement is marked invalid. Several files take turns
process by process, in an order that reverses each round, so that what disturbs the machine disturbs all alike.
"""

import json
import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from devices import Measurement, Request
from devices.sandbox import Limits, explain, run_python
from devices.statistics import drift, median_interval, percentile
from pipeline.errors import DeviceError
from targets import Target

RUNNER = Path(__file__).with_name("runner.py")
LEAST_CPU_OVER_WALL = 0.95
MOST_NEIGHBOURS_BUSY = 0.5
IDLE_WINDOW_SECONDS = 0.05
LEAST_FOR_P99 = 1000
"""Samples: ten of them then lie above the 99th percentile."""


@dataclass(frozen=True)
class _Turn:
    """What one process reported."""

    samples_us: tuple[float, ...]
    cpu_over_wall: float
    neighbours_busy: float
    runtime: str
    runtime_version: str
    model_sha256: str

    @property
    def median(self) -> float:
        return percentile(self.samples_us, 50)

    def how_disturbed(self) -> float:
        return self.neighbours_busy - self.cpu_over_wall

    @property
    def disturbance(self) -> str:
        if self.cpu_over_wall < LEAST_CPU_OVER_WALL:
            return f"it got {self.cpu_over_wall:.0%} of the processor"
        if self.neighbours_busy > MOST_NEIGHBOURS_BUSY:
            return f"the other cores were at work {self.neighbours_busy:.0%} of the time"
        return ""


class Host:
    """The machine that this process runs on."""

    name = "host"

    @property
    def machine(self) -> str:
        """The processor's name and how many cores this process may use."""
        return f"{_processor()}, {len(cores())} cores, {platform.system()} {platform.machine()}"

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime for a file's format and its installed version."""
        name, distribution = ("litert", "ai-edge-litert") if _is_tflite(model) else ("onnxruntime", "onnxruntime")
        try:
            return name, version(distribution)
        except PackageNotFoundError as error:
            raise DeviceError(
                f"host can't run {model.name}: {distribution} isn't installed; pip install {distribution}"
            ) from error

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure the latency of files in turns."""
        turns: list[list[_Turn]] = [[] for _ in models]
        second_tries = request.processes
        for number in range(request.processes):
            order = range(len(models)) if number % 2 == 0 else range(len(models) - 1, -1, -1)
            for index in order:
                turn = _turn(models[index], request)
                if turn.disturbance and second_tries:
                    second_tries -= 1
                    turn = min(turn, _turn(models[index], request), key=_Turn.how_disturbed)
                turns[index].append(turn)
        together = tuple(taken[0].model_sha256 for taken in turns)
        return [(self._latency(model, request, taken, together),) for model, taken in zip(models, turns, strict=True)]

    def _latency(self, model: Path, request: Request, turns: list[_Turn], together: tuple[str, ...]) -> Measurement:
        medians = tuple(turn.median for turn in turns)
        interval = median_interval(medians, seed=request.seed)
        samples = [sample for turn in turns for sample in turn.samples_us]
        why_invalid = _why_invalid(turns)
        return Measurement(
            model=model.name,
            model_sha256=turns[0].model_sha256,
            quantity="latency",
            unit="us",
            label="measured",
            device=self.name,
            machine=self.machine,
            runtime=turns[0].runtime,
            runtime_version=turns[0].runtime_version,
            threads=request.threads,
            value=interval.value,
            low=interval.low,
            high=interval.high,
            samples=len(samples),
            processes=len(turns),
            process_medians=medians,
            valid=not why_invalid,
            why_invalid=why_invalid,
            together=together,
            p90=percentile(samples, 90),
            p99=percentile(samples, 99) if len(samples) >= LEAST_FOR_P99 else None,
            drift=percentile([drift(turn.samples_us) for turn in turns], 50),
        )


def connect(spec: str, _target: Target | None) -> Host:
    """Return this machine; its spec is "host" and nothing more."""
    if spec != "host":
        raise DeviceError(f"no device {spec!r}; this machine is 'host', without anything behind it")
    return Host()


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _turn(model: Path, request: Request) -> _Turn:
    pinned = _idlest(request.threads)
    arguments = [
        "--model",
        str(model),
        "--threads",
        str(request.threads),
        "--seed",
        str(request.seed),
        "--cores",
        ",".join(map(str, pinned)),
    ]
    arguments += ["--warmup-seconds", str(request.warmup_seconds), "--min-seconds", str(request.min_seconds)]
    arguments += ["--min-runs", str(request.min_runs), "--max-runs", str(request.max_runs)]
    arguments += [f"--shape={name}={shape}" for name, shape in request.shapes]
    wall_seconds = 60 + 20 * (request.warmup_seconds + request.min_seconds)
    finished = run_python(RUNNER, arguments, limits=Limits(wall_seconds=wall_seconds))
    if not finished.ok:
        raise DeviceError(f"host can't run {model.name}: it {explain(finished)}")
    return read_turn(finished.stdout, model)


def read_turn(text: str, model: Path) -> _Turn:
    """Return what a runner printed; DeviceError when it isn't a runner's report. The model ran in that process, so it isn't trusted."""
    try:
        report: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        samples = tuple(float(sample) for sample in report["samples_us"])
        turn = _Turn(
            samples_us=samples,
            cpu_over_wall=float(report["cpu_over_wall"]),
            neighbours_busy=float(report["neighbours_busy"] or 0.0),
            runtime=str(report["runtime"]),
            runtime_version=str(report["runtime_version"]),
            model_sha256=str(report["model_sha256"]),
        )
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DeviceError(f"host can't measure {model.name}: the runner's report is broken ({error!r})") from error
    if not samples or not all(math.isfinite(sample) and sample > 0 for sample in samples):
        raise DeviceError(
            f"host can't measure {model.name}: the runner's report holds no timings; see whether the model runs at all"
        )
    return turn


def _why_invalid(turns: list[_Turn]) -> str:
    disturbed = [turn for turn in turns if turn.disturbance]
    if not disturbed:
        return ""
    worst = max(disturbed, key=_Turn.how_disturbed)
    return f"the machine was busy in {len(disturbed)} of {len(turns)} processes: {worst.disturbance}"


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


def _is_tflite(model: Path) -> bool:
    try:
        with model.open("rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError as error:
        raise DeviceError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
