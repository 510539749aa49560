"""An emulated Arm core as a device: the runtimes' own Arm builds run under qemu-user while a plug-in counts.

What is counted repeats; how long the emulation takes says nothing about the device, and is never reported. Two fresh processes
count; as long as two of them differ by more than a thousandth, further ones do, as many as the request allows. A count's bounds
are the processes' range, a thousandth wider, so that two copies of one file never seem to differ. The guest computes on one
thread: the work is the same on several, and an estimate shares it out.

A target with a calibration for the file's runtime gets a latency by `devices/latency_model.py`, labelled **estimated**, with the
band of its errors; any other gets counts, by which files for one target can be ranked and compared.

`answers` runs given inputs, so that the Arm kernels' outputs can be compared with the host's.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from devices import Label, Measurement, Request
from devices.arm import setup, wheels
from devices.arm.counts import Counts, read_all
from devices.arm.overlay import cache_kib, write_overlay
from devices.arm.userland import HOW_TO_SET_UP, Userland, expected, userland
from devices.latency_model import CORES, LINE_BYTES, estimate, work
from devices.sandbox import Limits, check_name, explain
from devices.turns import RUNNER, is_tflite
from pipeline.errors import DeviceError, RefusedError
from targets import Emulation, Target, known_targets, load_target

LIMITS = Limits(wall_seconds=900, cpu_seconds=900)
"""Some hundred times the device's own time: a network of a thousand million products takes minutes."""
COUNTED_RUNS = 2
"""In each process, after two to warm up."""
MOST_IN_A_PROCESS = 50
RARE = ("sve", "other")
"""Classes that are told only where there are any."""
SAME = 0.001
DIFFERENT = 0.01
"""Relative differences between processes: below the first they agree, above the second the count is invalid."""


@dataclass(frozen=True)
class _Figure:
    """One quantity of a file: a value a process, and the band where it isn't their range."""

    quantity: str
    unit: str
    values: tuple[float, ...]
    how: str
    label: Label = "emulated"
    band: tuple[float, float] | None = None


class Qemu:
    """The first group of a target's cores, emulated."""

    name = "qemu"

    def __init__(self, target: Target, emulation: Emulation, arm: Userland) -> None:
        self.target, self.emulation, self.arm = target, emulation, arm
        self._counted: dict[tuple[str, Request], list[Counts]] = {}

    @property
    def machine(self) -> str:
        """QEMU and the core, with a digest of profile, counter and model: whatever changes a figure changes this name."""
        made_of = f"{self.target.model_dump_json()}{self.arm.folder.name}{CORES.get(self.emulation.qemu_cpu)}"
        digest = hashlib.sha256(made_of.encode()).hexdigest()[:8]
        return f"QEMU {self.arm.qemu_version}, {self.emulation.qemu_cpu} as {self.target.name}, profile {digest}"

    @property
    def tells_latency(self) -> bool:
        """Whether the target has a calibration, for one of its runtimes; any other is only counted."""
        return self.target.calibration is not None and self.target.cores[0].clock_mhz is not None

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime for a file's format and its version; RefusedError where there is none for 32 bits."""
        if is_tflite(model):
            name = "tflite_runtime" if self.emulation.bits == 32 else "litert"
        elif self.emulation.bits == 32:
            raise RefusedError(
                f"qemu can't run {model.name} as {self.target.name}: no ONNX Runtime is built for 32-bit Arm; give a .tflite file",
                model,
            )
        else:
            name = "onnxruntime"
        return name, wheels.VERSIONS[name]

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Count what an inference of each file costs; a busy machine changes no count, so the files take no turns."""
        counts = [core.count.value for core in self.target.cores if core.count]
        if counts and request.threads > sum(counts):
            raise DeviceError(
                f"qemu as {self.target.name}: {request.threads} threads want {request.threads} cores; it has {sum(counts)}"
            )
        together = tuple(_digest(model) for model in models)
        return [self._measure(model, request, together) for model in models]

    def many(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files that we wrote ourselves, several a process: to start one takes longer than to count a small file."""
        for first in range(0, len(models), MOST_IN_A_PROCESS):
            together = models[first : first + MOST_IN_A_PROCESS]
            processes = [self._count_all(together, request) for _ in range(COUNTED_RUNS)]
            for model, counts in zip(together, zip(*processes, strict=True), strict=True):
                self._counted[_digest(model), replace(request, threads=1)] = list(counts)
        return self.measure(models, request)

    def answers(self, model: Path, inputs: Path, *, outputs: Path) -> None:
        """Run a file on given inputs, as `runner.py --inputs` does, and leave its outputs."""
        with tempfile.TemporaryDirectory(prefix="edgepress-qemu-") as place:
            arguments = ["--inputs", str(inputs.absolute()), "--outputs", str(outputs.absolute())]
            self._run(model, arguments, Path(place), plugin=())

    def _measure(self, model: Path, request: Request, together: tuple[str, ...]) -> tuple[Measurement, ...]:
        known = (_digest(model), replace(request, threads=1))  # threads change an estimate, not what is counted
        counts = self._counted.get(known) or self._count(model, request)
        self._counted[known] = counts
        spread = _spread(counts)
        why_invalid = f"the counts of {len(counts)} processes differ by {spread:.1%}" if spread > DIFFERENT else ""
        return tuple(
            self._told(figure, model, request, together=together, why_invalid=why_invalid)
            for figure in self._figures(model, counts, request)
        )

    def _count(self, model: Path, request: Request) -> list[Counts]:
        counts = [self._count_once(model, request) for _ in range(min(2, request.processes))]
        while len(counts) < request.processes and _spread(counts) > SAME:
            counts.append(self._count_once(model, request))
        return counts

    def _count_once(self, model: Path, request: Request) -> Counts:
        return self._count_all([model], request)[0]

    def _count_all(self, models: Sequence[Path], request: Request) -> list[Counts]:
        arguments = ["--count", str(COUNTED_RUNS), "--seed", str(request.seed)]
        arguments += ["--inputs", str(Path(request.inputs).absolute())] if request.inputs else []
        arguments += [f"--shape={name}={shape}" for name, shape in request.shapes]
        arguments += [f"--also={model.absolute()}" for model in models[1:]]
        with tempfile.TemporaryDirectory(prefix="edgepress-qemu-") as place:
            file = Path(place) / "counts"
            plugin = [f"out={file}", *(f"{name}={kib}" for name, kib in self._modelled().items())]
            self._run(models[0], arguments, Path(place), plugin=plugin)
            return read_all(file, COUNTED_RUNS, files=len(models))

    def _modelled(self) -> dict[str, int]:
        """Return the caches to model, in KiB; none unless both inner levels are published."""
        sizes = cache_kib(self.target)
        return sizes if {"l1d", "l2"} <= set(sizes) else {}

    def _run(self, model: Path, arguments: Sequence[str], place: Path, *, plugin: Sequence[str]) -> None:
        """Run the runner in a fresh guest, and see that it is the runtime that is promised."""
        check_name(model.absolute())
        runtime = self.runtime(model)
        prefix = place / "root"
        self.arm.lay_root(prefix, self.emulation.bits)
        write_overlay(prefix, self.target, self.emulation)
        finished = self.arm.run(
            prefix,
            [str(RUNNER), "--model", str(model.absolute()), *arguments],
            bits=self.emulation.bits,
            cpu=self.emulation.qemu_cpu,
            plugin=plugin,
            limits=LIMITS,
        )
        if not finished.ok:
            raise DeviceError(f"qemu can't run {model.name} as {self.target.name}: it {explain(finished)}")
        if _runtime(finished.stdout) != runtime:
            raise DeviceError(
                f"qemu ran {model.name} by {_runtime(finished.stdout)}, not {runtime}; set it up anew: {HOW_TO_SET_UP}"
            )

    def _figures(self, model: Path, counts: list[Counts], request: Request) -> list[_Figure]:
        """Return what is told of a file, the latency first where there is one."""
        how = f"counted on an emulated {self.emulation.qemu_cpu}"
        if self.emulation.stands_for:
            how += f", which is {self.emulation.stands_for}"
        per = "instructions per inference"
        found = [_Figure("instructions", per, tuple(each.instructions for each in counts), how)]
        found += [
            _Figure(f"instructions.{name}", per, tuple(each.by_class[name] for each in counts), how)
            for name in counts[0].by_class
            if name not in RARE or any(each.by_class[name] for each in counts)
        ]
        sizes = ", ".join(f"{name} {kib} KiB" for name, kib in self._modelled().items())
        modelled = f"modelled caches ({sizes}): least recently used leaves, no prefetch, one core"
        for name in counts[0].caches:
            values = tuple(each.caches[name] for each in counts)
            if name == "memory_lines":
                values = tuple(value * LINE_BYTES / 1024 for value in values)
                found.append(_Figure("memory_traffic", "KiB per inference", values, modelled))
            else:
                found.append(_Figure(name, "misses per inference", values, modelled))
        return [*self._latency(model, counts, request), *found]

    def _latency(self, model: Path, counts: list[Counts], request: Request) -> list[_Figure]:
        """Return the estimate, if the target is calibrated for the runtime of this file."""
        core = self.target.cores[0]
        calibration, clock, threads = self.target.calibration, core.clock_mhz, request.threads
        if core.count:
            threads = min(threads, core.count.value)
        runtime = self.runtime(model)[0]
        if calibration is None or clock is None or calibration.runtime.partition(" ")[0] != runtime:
            return []
        each = [
            estimate(work(found, self.emulation.qemu_cpu), calibration, clock_mhz=clock.value, threads=threads)
            for found in counts
        ]
        how = (
            f"latency model from counts, fitted to {sum(point.fitted for point in calibration.published)} published "
            f"figures; its error is {calibration.low_percent:+.0f} to {calibration.high_percent:+.0f} % with 95 %: "
            f"edgepress devices --calibration {self.target.name}"
        )
        how += (
            f"; for {threads} of {request.threads} threads, the cores of its first group"
            if threads < request.threads
            else ""
        )
        band = (min(guess.low for guess in each) * 1000, max(guess.high for guess in each) * 1000)
        values = tuple(guess.value * 1000 for guess in each)
        return [_Figure("latency", "us", values, how, label="estimated", band=band)]

    def _told(
        self, figure: _Figure, model: Path, request: Request, *, together: tuple[str, ...], why_invalid: str
    ) -> Measurement:
        low, high = figure.band or (min(figure.values) * (1 - SAME), max(figure.values) * (1 + SAME))
        runtime, version = self.runtime(model)
        return Measurement(
            model=model.name,
            model_sha256=_digest(model),
            quantity=figure.quantity,
            unit=figure.unit,
            label=figure.label,
            device=self.name,
            machine=self.machine,
            runtime=runtime,
            runtime_version=version,
            threads=request.threads,
            value=median(figure.values),
            low=low,
            high=high,
            samples=COUNTED_RUNS * len(figure.values),
            processes=len(figure.values),
            process_medians=figure.values,
            valid=not why_invalid,
            why_invalid=why_invalid,
            together=together,
            how=figure.how,
        )


def connect(spec: str, target: Target | None) -> Qemu:
    """Return a target's emulated core; its spec is "qemu" and nothing more. DeviceError when it can't be emulated, or isn't set up."""
    if spec != "qemu":
        raise DeviceError(f"no device {spec!r}; the emulated core is 'qemu', and the target says which")
    if target is None:
        raise DeviceError(f"qemu needs a target; name one of those that it can stand in for: {_emulated()}")
    if target.emulation is None:
        raise DeviceError(
            f"qemu can't stand in for {target.name}: its profile has no [emulation]; it can for {_emulated()}"
        )
    return Qemu(target, target.emulation, userland())


def state() -> str:
    """Say in a few words whether it can be used."""
    return "set up" if expected().complete else f"not set up: {HOW_TO_SET_UP}"


def set_up(say: Callable[[str], None]) -> str:
    """Fetch and build what it needs, and say what that cost."""
    cost = setup.set_up(say)
    fetched = f"{cost.fetched_mb:.0f} MB fetched" if cost.fetched_mb else "nothing fetched"
    return f"QEMU {cost.qemu} in {cost.folder}: {cost.seconds:.0f} s, {fetched}, {cost.disk_mb:.0f} MB on disk"


def _emulated() -> str:
    return ", ".join(name for name in known_targets() if load_target(name).emulation)


def _runtime(printed: str) -> tuple[str, str]:
    """Return the runtime in a runner's report, the last line that it printed; the model ran in that process, so it isn't trusted."""
    try:
        report: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
        return str(report["runtime"]), str(report["runtime_version"])
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise DeviceError(f"the runner's report from qemu is broken ({error!r:.200})") from error


def _spread(counts: Sequence[Counts]) -> float:
    """Return how far the processes' counts lie apart: 0.01 for 1 %."""
    totals = [each.instructions for each in counts]
    return (max(totals) - min(totals)) / max(1.0, min(totals))


def _digest(model: Path) -> str:
    try:
        with model.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DeviceError(f"can't read model {model} ({error.strerror}); give an .onnx or .tflite file") from error
