"""A board that has Python: `runner.py` runs there as it does here, and its raw samples come home.

One command finds out what is there: which of ai-edge-litert, tflite-runtime and onnxruntime, the board's name, its cores and
their clocks. A run is pinned to the cores that the user names, else to the fastest, the last of them first: core 0 is where
most systems take their interrupts.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from devices import Measurement, Request
from devices.board import Board
from devices.board_turns import BoardTurn, with_circumstances
from devices.sandbox import explain
from devices.turns import (
    RUNNER,
    is_tflite,
    measurements,
    read_turn,
    runner_arguments,
    take_turns,
    wall_seconds,
)
from pipeline.errors import DeviceError, RefusedError

OLDEST_PYTHON = (3, 8)
PROBE_SECONDS = 60.0
CPU_SECONDS_A_SECOND = 2.0
"""Processor time that a thread may use for each second of wall time allowed: what outlives its link has this end."""
FAILS_WITH_NUMPY_2 = "tflite-runtime"
"""Up to 2.14, its last: it imports, and then fails (its extension was built for numpy 1)."""
RUNTIMES = {
    "tflite": (("ai-edge-litert", "litert"), ("tflite-runtime", "tflite_runtime")),
    "onnx": (("onnxruntime", "onnxruntime"),),
}
"""Packages that run a format, and what the runner calls them; it takes the first that is there."""

PROBE = """
import json, os, platform, re, sys
try:
    from importlib.metadata import version
except ImportError:
    version = None
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(65536).decode(errors="replace")
    except OSError:
        return ""
def have(name):
    try:
        return version(name)
    except Exception:
        return None
def clock(core):
    text = read("/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq" % core).strip()
    return int(text) if text.isdigit() else 0
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
named = re.findall(r"(?:model name|Hardware|CPU part)\\s*:\\s*(.+)", read("/proc/cpuinfo"))
board = read("/proc/device-tree/model").strip("\\0 \\n") or (named[0].strip() if named else platform.processor() or "board")
packages = {name: have(name) for name in sys.argv[1:]} if version else {}
print(json.dumps({"python": sys.version_info[:3], "packages": packages, "board": board, "system": platform.system(),
                  "arch": platform.machine(), "cores": cores, "clocks": [clock(core) for core in cores]}))
"""


@dataclass(frozen=True)
class Facts:
    """What a board says of itself; `cores` the one to use first."""

    python: tuple[int, ...]
    packages: dict[str, str]
    machine: str
    cores: tuple[int, ...]


class PythonBoard:
    """A device that runs `runner.py` over a link; `cores` none for a choice of its own."""

    def __init__(self, name: str, open_board: Callable[[], Board], *, python: str, cores: tuple[int, ...]) -> None:
        self.name = name
        self._open_board, self._python, self._cores = open_board, python, cores

    @property
    def machine(self) -> str:
        """The board's name, its cores and its system, and the cores that are used when the user named them."""
        pinned = f", on cores {','.join(map(str, self._cores))}" if self._cores else ""
        return f"{self._facts.machine}{pinned}"

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime there that would run this file, and its version."""
        wanted = RUNTIMES["tflite" if is_tflite(model) else "onnx"]
        if not any(self._facts.packages.values()) or not self._facts.packages.get("numpy"):
            raise DeviceError(self._advice(model, f"lacks numpy or a runtime for {self._python}"))
        for package, name in wanted:
            if found := self._facts.packages.get(package):
                self._check(package, found, model)
                return name, found
        there = ", ".join(f"{name} {found}" for name, found in sorted(self._facts.packages.items()) if found)
        raise RefusedError(self._advice(model, f"has only {there}"), model)

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files in turns."""
        cores = self._chosen(request.threads)
        for model in models:
            self.runtime(model)
        with self._open_board() as board:
            turns = take_turns(models, request.processes, lambda model: self._turn(board, model, request, cores))
        plain = [[taken.turn for taken in each] for each in turns]
        found = measurements(models, plain, request, device=self.name, machine=self.machine)
        return [
            tuple(with_circumstances(measured, each, cores) for measured in all_)
            for all_, each in zip(found, turns, strict=True)
        ]

    def _turn(self, board: Board, model: Path, request: Request, cores: tuple[int, ...]) -> BoardTurn:
        runner = board.place(RUNNER, "runner.py")
        inputs = board.place(Path(request.inputs), "inputs.npz") if request.inputs else ""
        arguments = runner_arguments(board.place(model, "model"), request, cores=cores, inputs=inputs)
        seconds = wall_seconds(request)
        limit = math.ceil(seconds * request.threads * CPU_SECONDS_A_SECOND)
        ended = board.run([self._python, runner, *arguments], seconds=seconds, cpu_seconds=limit, core=cores[0])
        if not ended.finished.ok:
            raise DeviceError(f"{self.name} can't run {model.name}: it {explain(ended.finished)}")
        return BoardTurn(read_turn(ended.finished.stdout, model, device=self.name), ended.before, ended.after)

    def _chosen(self, threads: int) -> tuple[int, ...]:
        usable = self._cores or self._facts.cores
        if foreign := sorted(set(usable) - set(self._facts.cores)):
            known = ",".join(map(str, sorted(self._facts.cores)))
            raise DeviceError(f"{self.name} has no core {foreign[0]}; it has {known}")
        if threads > len(usable):
            raise DeviceError(f"{self.name}: {threads} threads want {threads} cores; usable: {len(usable)}")
        return tuple(sorted(usable if self._cores else usable[:threads]))

    @cached_property
    def _facts(self) -> Facts:
        packages = [package for wanted in RUNTIMES.values() for package, _ in wanted]
        with self._open_board() as board:
            finished = board.ask([self._python, "-c", PROBE, "numpy", *packages], seconds=PROBE_SECONDS)
        if not finished.ok:
            raise DeviceError(
                f"{self.name}: {self._python} doesn't run there: it {explain(finished)}; install Python 3.8 or later, or give ?python=/path/of/python3"
            )
        return _read_facts(finished.stdout, self.name)

    def _check(self, package: str, found: str, model: Path) -> None:
        numpy = self._facts.packages["numpy"]
        if package == FAILS_WITH_NUMPY_2 and not numpy.startswith("1."):
            raise DeviceError(
                f"{self.name} can't run {model.name}: {package} {found} fails with numpy {numpy}; there: {self._python} -m pip install 'numpy<2'"
            )

    def _advice(self, model: Path, what: str) -> str:
        package = RUNTIMES["tflite" if is_tflite(model) else "onnx"][0][0]
        return f"{self.name} can't run {model.name}: it {what}; there: {self._python} -m pip install numpy {package}"


def _read_facts(text: str, name: str) -> Facts:
    try:
        said: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
        cores = [int(core) for core in said["cores"]]
        clocks = dict(zip(cores, map(int, said["clocks"]), strict=True))
        facts = Facts(
            python=tuple(int(part) for part in said["python"]),
            packages={str(package): str(found) for package, found in said["packages"].items() if found},
            machine=f"{str(said['board'])[:80]}, {len(cores)} cores, {said['system']} {said['arch']}",
            cores=tuple(sorted(cores, key=lambda core: (-clocks[core], -core))),
        )
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(f"{name}: what it says of itself can't be read ({error!r:.100})") from error
    if facts.python < OLDEST_PYTHON or not cores:
        raise DeviceError(
            f"{name} has Python {'.'.join(map(str, facts.python))}; the runner needs 3.8 or later: ?python="
        )
    return facts
