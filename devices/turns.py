"""What every device that runs `runner.py` shares: turns of fresh processes, what each reports, and the numbers from them.

A process was disturbed when it got less than 95 % of the processor that it asked for (two spinning neighbours made a
median of 11 ms into 35 ms, with a share of 0.33), when others took more than a fifth of its cores (with several threads the
first says little: two that got 1.2 processors may have wanted 1.2 or 2), or when the other cores were at work most of the
time: they share caches and memory, and on a virtual machine often the core itself, which made 0.35 ms into 0.55 ms with a
share of 1.0. It is run once more, as many times in all as there are rounds, before the measurement is marked invalid. Several files take turns
process by process, in an order that reverses each round, so that what disturbs the machine disturbs all alike.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from devices import Measurement, Request
from devices.statistics import drift, histogram, median_interval, percentile
from pipeline.errors import DeviceError

RUNNER = Path(__file__).with_name("runner.py")
LEAST_CPU_OVER_WALL = 0.95
MOST_NEIGHBOURS_BUSY = 0.5
MOST_TAKEN = 0.2
LEAST_FOR_P99 = 1000
"""Samples: ten of them then lie above the 99th percentile."""

HOW_LOADED = "opening the file, read once before, in a fresh process that has the runtime loaded"
HOW_FIRST = "the first inference after it"
HOW_PEAK = "memory that the process came to hold while opening the file and in three inferences, over that with the runtime loaded"


@dataclass(frozen=True)
class Turn:
    """What one process reported."""

    samples_us: tuple[float, ...]
    cpu_over_wall: float
    neighbours_busy: float
    runtime: str
    runtime_version: str
    model_sha256: str
    load_us: float | None = None
    first_us: float | None = None
    peak_kib: float | None = None
    others_on_ours: float = 0.0

    @property
    def median(self) -> float:
        """The median of its samples, in microseconds."""
        return percentile(self.samples_us, 50)

    def how_disturbed(self) -> float:
        """Return a figure by which two turns are compared: the larger, the worse."""
        return self.neighbours_busy + self.others_on_ours - self.cpu_over_wall

    @property
    def disturbance(self) -> str:
        """What disturbed it, in words; empty when it was left alone."""
        if self.cpu_over_wall < LEAST_CPU_OVER_WALL:
            return f"it got {self.cpu_over_wall:.0%} of the processor"
        if self.others_on_ours > MOST_TAKEN:
            return f"others took {self.others_on_ours:.0%} of its cores"
        if self.neighbours_busy > MOST_NEIGHBOURS_BUSY:
            return f"the other cores were at work {self.neighbours_busy:.0%} of the time"
        return ""


class Disturbable(Protocol):
    """One process's run, as far as its being left alone goes."""

    @property
    def disturbance(self) -> str:
        """What disturbed it, in words; empty when it was left alone."""

    def how_disturbed(self) -> float:
        """Return a figure by which two turns are compared: the larger, the worse."""


Taken = TypeVar("Taken", bound=Disturbable)


def take_turns(models: Sequence[Path], processes: int, run: Callable[[Path], Taken]) -> list[list[Taken]]:
    """Run each file in so many fresh processes, `run` being one of them, and return the turns of each file."""
    turns: list[list[Taken]] = [[] for _ in models]
    second_tries = processes
    for number in range(processes):
        order = range(len(models)) if number % 2 == 0 else range(len(models) - 1, -1, -1)
        for index in order:
            turn = run(models[index])
            if turn.disturbance and second_tries:
                second_tries -= 1
                turn = min(turn, run(models[index]), key=lambda taken: taken.how_disturbed())
            turns[index].append(turn)
    return turns


def measurements(
    models: Sequence[Path], turns: Sequence[Sequence[Turn]], request: Request, *, device: str, machine: str
) -> list[tuple[Measurement, ...]]:
    """Return the quantities of each file by its turns, latency first; what a runner didn't tell is left out."""
    together = tuple(taken[0].model_sha256 for taken in turns)
    found: list[tuple[Measurement, ...]] = []
    for model, taken in zip(models, turns, strict=True):
        steady = latency(model, taken, request, device=device, machine=machine, together=together)
        once = (
            _once(steady, "load", "us", [turn.load_us for turn in taken], HOW_LOADED),
            _once(steady, "first inference", "us", [turn.first_us for turn in taken], HOW_FIRST),
            _once(steady, "peak memory", "KiB", [turn.peak_kib for turn in taken], HOW_PEAK),
        )
        found.append((steady, *(each for each in once if each)))
    return found


def latency(
    model: Path, turns: Sequence[Turn], request: Request, *, device: str, machine: str, together: tuple[str, ...]
) -> Measurement:
    """Return the latency of a file by its turns."""
    medians = tuple(turn.median for turn in turns)
    interval = median_interval(medians)
    of_p90 = median_interval([percentile(turn.samples_us, 90) for turn in turns])
    samples = [sample for turn in turns for sample in turn.samples_us]
    invalid = why_invalid(turns)
    return Measurement(
        model=model.name,
        model_sha256=turns[0].model_sha256,
        quantity="latency",
        unit="us",
        label="measured",
        device=device,
        machine=machine,
        runtime=turns[0].runtime,
        runtime_version=turns[0].runtime_version,
        threads=request.threads,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        samples=len(samples),
        processes=len(turns),
        process_medians=medians,
        valid=not invalid,
        why_invalid=invalid,
        together=together,
        p90=percentile(samples, 90),
        p90_low=of_p90.low,
        p90_high=of_p90.high,
        p99=percentile(samples, 99) if len(samples) >= LEAST_FOR_P99 else None,
        drift=percentile([drift(turn.samples_us) for turn in turns], 50),
        histogram=histogram(samples),
    )


def _once(
    steady: Measurement, quantity: str, unit: str, values: Sequence[float | None], how: str
) -> Measurement | None:
    """Return a quantity that each process told once, None where one told nothing; memory doesn't mind a busy machine."""
    told = [value for value in values if value is not None]
    if len(told) < len(values):
        return None
    interval = median_interval(told)
    disturbed = steady.why_invalid if unit == "us" else ""
    return replace(
        steady,
        quantity=quantity,
        unit=unit,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        samples=len(told),
        process_medians=tuple(told),
        valid=not disturbed,
        why_invalid=disturbed,
        p90=None,
        p90_low=None,
        p90_high=None,
        p99=None,
        drift=None,
        histogram=None,
        how=how,
    )


def why_invalid(turns: Sequence[Disturbable]) -> str:
    """Say why turns can't be trusted; empty when they can."""
    disturbed = [turn for turn in turns if turn.disturbance]
    if not disturbed:
        return ""
    worst = max(disturbed, key=lambda turn: turn.how_disturbed())
    return f"the machine was busy in {len(disturbed)} of {len(turns)} processes: {worst.disturbance}"


def runner_arguments(model: str, request: Request, *, cores: Sequence[int], inputs: str = "") -> list[str]:
    """Return the runner's command line for one turn; `model` and `inputs` are the files' paths where the runner runs."""
    if request.inputs and not inputs:
        raise DeviceError(f"this device can't be given the inputs of {request.inputs}; measure with random ones")
    arguments = [f"--model={model}", "--threads", str(request.threads), "--seed", str(request.seed)]
    arguments += ["--cores", ",".join(map(str, cores))]
    arguments += ["--warmup-seconds", str(request.warmup_seconds), "--min-seconds", str(request.min_seconds)]
    arguments += ["--min-runs", str(request.min_runs), "--max-runs", str(request.max_runs)]
    arguments += ["--max-seconds", str(request.max_seconds), *([f"--inputs={inputs}"] if inputs else [])]
    return arguments + [f"--shape={name}={shape}" for name, shape in request.shapes]


def wall_seconds(request: Request) -> float:
    """Return how long one turn may take before it counts as hung."""
    return (
        60 + 4 * request.max_seconds
    )  # the first runs, the warm-up and the samples each end by then, and one run more


def read_turn(text: str, model: Path, *, device: str = "host") -> Turn:
    """Return what a runner printed; DeviceError when it isn't a runner's report. The model ran in that process, so it isn't trusted."""
    try:
        report: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        samples = tuple(float(sample) for sample in report["samples_us"])
        turn = Turn(
            samples_us=samples,
            cpu_over_wall=float(report["cpu_over_wall"]),
            neighbours_busy=float(report["neighbours_busy"] or 0.0),
            runtime=str(report["runtime"]),
            runtime_version=str(report["runtime_version"]),
            model_sha256=str(report["model_sha256"]),
            load_us=_told(report, "load_us"),
            first_us=_told(report, "first_us"),
            peak_kib=_told(report, "model_peak_kib"),
            others_on_ours=_told(report, "others_on_ours") or 0.0,
        )
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DeviceError(
            f"{device} can't measure {model.name}: the runner's report is broken ({error!r:.200})"
        ) from error
    if not samples or not all(math.isfinite(sample) and sample > 0 for sample in samples):
        raise DeviceError(
            f"{device} can't measure {model.name}: the runner's report holds no timings; see whether the model runs at all"
        )
    return turn


def _told(report: Mapping[str, Any], name: str) -> float | None:
    value = report.get(name)
    if value is None:
        return None
    if not math.isfinite(float(value)) or float(value) < 0:
        raise ValueError(f"{name} is {value}")
    return float(value)


def is_tflite(model: Path) -> bool:
    """Say whether a file is a TFLite file, by its identifier; DeviceError when it can't be read."""
    try:
        with model.open("rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError as error:
        raise DeviceError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
