"""Arm's Ethos-U compiler Vela as a device: what it estimates for a target's accelerator, without any hardware.

Vela compiles the int8 file in a bounded subprocess and writes two tables: a summary (cycles, time, memory) and a line an
operator. It ends with 0 for a file of which nothing runs on the accelerator, costs an operator that stays on the processor
at nothing, and doesn't mind an SRAM larger than the device's; so a float file, a file without any operator for the
accelerator, and one too large for the profile's SRAM are refused here, and a latency that leaves operators out is invalid
and names them. Arm publishes no error for the estimate: its band has no width, and no budget is judged by it.

The options and the columns are those of ethos-u-vela 5.2 (`vela --help`, and the heads of the files that it writes).
"""

import csv
import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from devices import Measurement, Request
from devices.figures import Figure, as_measurements
from devices.layer_times import LayerTime, shared
from devices.sandbox import Limits, explain, run_bounded
from devices.turns import is_tflite
from pipeline.errors import DeviceError, MissingExtraError, RefusedError
from targets import Accelerator, Target

LIMITS = Limits(wall_seconds=300, cpu_seconds=600, memory_mib=16384)
MOST_TABLE_BYTES = 2**24
MOST_NAMES = 5
TARGET_COLUMN, NAME_COLUMN = 2, 15
"""Of the table of operators; names come last, and may hold commas."""


@dataclass(frozen=True)
class Operator:
    """One operator as Vela placed it; `cycles` is 0 on the processor, whatever it costs there."""

    kind: str
    name: str
    on_cpu: bool
    cycles: float


@dataclass(frozen=True)
class Estimate:
    """What Vela says of a file."""

    cycles: float
    clock_hz: float
    sram_kib: float
    operators: tuple[Operator, ...]

    @property
    def left_out(self) -> tuple[Operator, ...]:
        """The operators that stay on the processor."""
        return tuple(operator for operator in self.operators if operator.on_cpu)


class Vela:
    """An Ethos-U as Vela knows it."""

    name = "vela"
    threaded = False

    def __init__(self, accelerator: Accelerator, installed: str) -> None:
        self.accelerator, self.version = accelerator, installed

    @property
    def machine(self) -> str:
        """The configuration that the estimate is for."""
        given = self.accelerator
        clock = f", {given.clock_mhz.value} MHz" if given.clock_mhz else ""
        sram = f", {given.sram_kib.value} KiB SRAM" if given.sram_kib else ""
        return f"{given.configuration}, {given.system}, {given.memory_mode}{clock}{sram}"

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the compiler and its version; RefusedError for what isn't a TFLite file."""
        if not is_tflite(model):
            raise RefusedError(f"vela can't take {model.name}: it compiles int8 .tflite files", model)
        return "vela", self.version

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Estimate each file; Vela knows nothing of threads, inputs or time."""
        for model in models:
            self.runtime(model)
        return [self._quantities(model, self.estimate(model), request) for model in models]

    def layers(self, model: Path, _request: Request) -> tuple[LayerTime, ...]:
        """Return the cycles of each operator; those on the processor cost none here."""
        return shared((each.kind, each.name, each.cycles, "cycles") for each in self.estimate(model).operators)

    def estimate(self, model: Path) -> Estimate:
        """Compile a file and return what Vela says of it."""
        with tempfile.TemporaryDirectory(prefix="edgepress-vela-") as folder:
            place = Path(folder)
            shutil.copyfile(model, place / "model.tflite")
            finished = run_bounded(
                [sys.executable, "-P", "-m", "ethosu.vela", *self._arguments()], limits=LIMITS, cwd=place
            )
            if not finished.ok:
                raise RefusedError(f"vela can't compile {model.name}: it {explain(finished)}", model)
            return read_estimate(_table(place, "model_summary_*.csv"), _table(place, "model_per-layer.csv"))

    def _arguments(self) -> list[str]:
        given = self.accelerator
        arguments = ["--accelerator-config", given.configuration, "--config", "Arm/vela.ini"]
        arguments += ["--system-config", given.system, "--memory-mode", given.memory_mode]
        if given.sram_kib and "Dedicated" not in given.memory_mode:  # a dedicated SRAM's size stands in its mode
            arguments += ["--arena-cache-size", str(given.sram_kib.value * 1024)]
        return [*arguments, "--verbose-performance", "--output-dir", ".", "model.tflite"]

    def _quantities(self, model: Path, found: Estimate, request: Request) -> tuple[Measurement, ...]:
        self._refuse(model, found)
        clock_hz = self.accelerator.clock_mhz.value * 1e6 if self.accelerator.clock_mhz else found.clock_hz
        left_out = _left_out(found)
        how = f"Vela {self.version}'s model of {self.machine}; Arm publishes no error for it"
        share = 100 * len(found.left_out) / len(found.operators)
        figures = (
            Figure("latency", "us", found.cycles / clock_hz * 1e6, "estimated", how, left_out),
            Figure("cycles", "cycles", found.cycles, "estimated", how, left_out),
            Figure("sram", "KiB", found.sram_kib, "estimated", how),
            Figure("operators on the processor", "%", share, "estimated", how),
        )
        runtime = (self.name, self.version)
        return as_measurements(
            model, figures, device=self.name, machine=self.machine, runtime=runtime, threads=request.threads
        )

    def _refuse(self, model: Path, found: Estimate) -> None:
        if len(found.left_out) == len(found.operators):
            raise RefusedError(
                f"vela can't take {model.name}: none of its operators runs on the {self.accelerator.name}, "
                "which takes int8 and int16; quantise the file",
                model,
            )
        allowed = self.accelerator.sram_kib
        if allowed and found.sram_kib > allowed.value:
            raise RefusedError(
                f"vela can't take {model.name}: it needs {found.sram_kib:.0f} KiB of SRAM, the device has "
                f"{allowed.value} KiB; make the first layers' activations smaller",
                model,
            )


def connect(spec: str, target: Target | None) -> Vela:
    """Return the accelerator of a target as Vela knows it; the spec is "vela" and nothing more."""
    if spec != "vela":
        raise DeviceError(f"no device {spec!r}; Arm's compiler is 'vela', without anything behind it")
    if target is None or target.accelerator is None:
        found = f"target {target.name} has none" if target else "no target is given"
        raise DeviceError(f"vela estimates for a target with an Ethos-U, and {found}; see `edgepress targets`")
    try:
        return Vela(target.accelerator, version("ethos-u-vela"))
    except PackageNotFoundError as error:
        raise MissingExtraError(
            "vela needs ethos-u-vela, which isn't installed; pip install 'edgepress[boards]'"
        ) from error


def state() -> str:
    """Say whether the compiler is installed."""
    try:
        return f"ethos-u-vela {version('ethos-u-vela')}"
    except PackageNotFoundError:
        return "not installed: pip install 'edgepress[boards]'"


def read_estimate(summary: str, operators: str) -> Estimate:
    """Return what Vela's two tables say; DeviceError when they aren't what this version of Vela writes."""
    try:
        totals = next(csv.DictReader(io.StringIO(summary)))
        lines = [line for line in csv.reader(io.StringIO(operators)) if len(line) > NAME_COLUMN]
        return Estimate(
            cycles=float(totals["cycles_total"]),
            clock_hz=float(totals["core_clock"]),
            sram_kib=float(totals["sram_memory_used"]),
            operators=tuple(_operator(line) for line in lines if line[TARGET_COLUMN] in ("CPU", "NPU")),
        )
    except (StopIteration, KeyError, ValueError, TypeError, csv.Error) as error:
        raise DeviceError(
            f"vela's tables can't be read ({error!r}); edgepress reads those of ethos-u-vela 5.2"
        ) from error


def _operator(line: list[str]) -> Operator:
    name = "".join(letter for letter in ",".join(line[NAME_COLUMN:]) if letter.isprintable())
    return Operator(line[0], name[:60], on_cpu=line[TARGET_COLUMN] == "CPU", cycles=float(line[5]))


def _left_out(found: Estimate) -> str:
    """Say which operators the estimate leaves out; empty when it holds all."""
    names = [f"{operator.kind} {operator.name!r}" for operator in found.left_out]
    if not names:
        return ""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    share = f"{len(names)} of {len(found.operators)} operators"
    return (
        f"{share} stay on the processor, where the estimate costs them nothing: {', '.join(names[:MOST_NAMES])}{more}"
    )


def _table(folder: Path, pattern: str) -> str:
    for path in folder.glob(pattern):
        with path.open("rb") as file:
            return file.read(MOST_TABLE_BYTES).decode(errors="replace")
    raise DeviceError(f"vela wrote no {pattern}; edgepress reads the files of ethos-u-vela 5.2")
