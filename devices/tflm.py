"""TensorFlow Lite Micro as a device: whether its interpreter takes a file, and how large an arena it needs.

The interpreter of the `tflite-micro` package runs the file once, in a subprocess, since it may abort; its recording
allocator prints what the arena holds: a head for activations, planned over their lifetimes, and a tail of structures that
stay (github.com/tensorflow/tflite-micro, tensorflow/lite/micro/docs/memory_management.md). The bytes are **measured**,
with two limits that `how` repeats: pointers have 64 bits here, so that a microcontroller's tail is smaller, and kernels are
the reference ones, so that an optimised kernel's scratch memory isn't in them. Time isn't measured: reference kernels on
this machine say nothing of a microcontroller. Float files run, as they do on the device; hybrid ones are refused by the
interpreter itself.
"""

import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from devices import Measurement, Request
from devices.figures import Figure, as_measurements
from devices.sandbox import Finished, Limits, explain, run_python
from devices.turns import is_tflite
from pipeline.errors import DeviceError, MissingExtraError, RefusedError
from targets import Target

CHILD = Path(__file__).with_name("tflm_child.py")
LIMITS = Limits(wall_seconds=120, memory_mib=4096)
ARENA_BYTES = 2**28
"""What the interpreter may use: 256 MiB, a hundred times what a large microcontroller has."""

HOW = "64-bit pointers and reference kernels: on a 32-bit microcontroller the tail is smaller, an optimised kernel may add scratch"
KIB = 1024


class TfliteMicro:
    """TensorFlow Lite Micro's interpreter on this machine; `target` says how much memory a file may take."""

    name = "tflm"
    threaded = False
    tells_latency = False

    def __init__(self, installed: str, target: Target | None) -> None:
        self.version, self.target = installed, target

    @property
    def machine(self) -> str:
        """Where the interpreter runs, and for what memory."""
        room = f" for {self.target.name} with {self._ram_kib} KiB" if self.target and self._ram_kib else ""
        return f"reference kernels on {platform.machine()}{room}"

    @property
    def _ram_kib(self) -> int | None:
        ram = self.target.memory.ram_kib if self.target and self.target.kind == "microcontroller" else None
        return ram.value if ram else None

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the interpreter and its version; RefusedError for what isn't a TFLite file."""
        if not is_tflite(model):
            raise RefusedError(f"tflm can't take {model.name}: it runs .tflite files", model)
        return "tflite-micro", self.version

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Run each file once and return the bytes of its arena."""
        for model in models:
            self.runtime(model)
        return [self._quantities(model, request) for model in models]

    def _quantities(self, model: Path, request: Request) -> tuple[Measurement, ...]:
        finished = run_python(CHILD, [str(model.absolute()), str(ARENA_BYTES)], limits=LIMITS)
        if not finished.ok:
            raise RefusedError(f"tflm can't run {model.name}: {why_not(finished)}", model)
        found = read_arena(finished.stderr + finished.stdout)
        arena_kib = found["total"] / KIB
        if self._ram_kib is not None and self.target and arena_kib > self._ram_kib:
            raise RefusedError(
                f"tflm can't place {model.name} on {self.target.name}: its arena takes {arena_kib:.0f} KiB, the device has "
                f"{self._ram_kib} KiB of RAM; make the first layers' activations smaller",
                model,
            )
        names = {"total": "arena", "head": "arena head", "tail": "arena tail"}
        figures = tuple(Figure(name, "B", found[part], "measured", HOW) for part, name in names.items())
        runtime = ("tflite-micro", self.version)
        return as_measurements(
            model, figures, device=self.name, machine=self.machine, runtime=runtime, threads=request.threads
        )


def connect(spec: str, target: Target | None) -> TfliteMicro:
    """Return the interpreter, for a target's memory where one is given; the spec is "tflm" and nothing more."""
    if spec != "tflm":
        raise DeviceError(f"no device {spec!r}; TensorFlow Lite Micro is 'tflm', without anything behind it")
    try:
        return TfliteMicro(version("tflite-micro"), target)
    except PackageNotFoundError as error:
        raise MissingExtraError(
            "tflm needs tflite-micro, which isn't installed; pip install 'edgepress[boards]'"
        ) from error


def state() -> str:
    """Say whether the interpreter is installed."""
    try:
        return f"tflite-micro {version('tflite-micro')}"
    except PackageNotFoundError:
        return "not installed: pip install 'edgepress[boards]'"


def read_arena(text: str) -> dict[str, float]:
    """Return bytes of the arena by part ("total", "head", "tail"); DeviceError when the interpreter told none."""
    told = {part: float(count) for part, count in re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", text)}
    if set(told) != {"total", "head", "tail"}:
        raise DeviceError(f"tflm's account of the arena can't be read; it printed {text.strip()[:100]!r}")
    return told


def why_not(finished: Finished) -> str:
    """Say why the interpreter didn't run a file: what it complained of before it gave up."""
    lines = finished.stderr.splitlines()  # those of a traceback are indented, those of the account in brackets
    told = next((line for line in lines if line and line[0] not in " [" and not line.startswith("Traceback")), "")
    ended = explain(finished)
    return f"{told[:160]} (it {ended})" if told and told[-60:] not in ended else f"it {ended}"
