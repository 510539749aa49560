"""A phone as a device: `benchmark_model` runs there, pinned to its fastest cores, and its summaries come home.

Android's `taskset` takes a mask in hexadecimal (toybox, toys/other/taskset.c). A phone that has none runs unpinned, and
says so. The figures of several processes make the interval; a percentile of all samples isn't to be had.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from devices import Measurement, Request
from devices.benchmark_model import Summary, command_line, complaint, read_summary, told
from devices.board import Board
from devices.board_turns import BoardTurn, with_circumstances
from devices.python_board import CPU_SECONDS_A_SECOND
from devices.sandbox import explain
from devices.turns import Turn, is_tflite, measurements, take_turns, wall_seconds
from pipeline.errors import DeviceError, RefusedError

PROPERTIES = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model", "ro.build.version.release", "ro.build.id")
ABI = "ro.product.cpu.abi"
PROBE = (
    'for name in "$@"; do echo "property $name $(getprop "$name")"; done; '
    "for core in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "core ${core##*cpu} $(cat "$core/cpufreq/cpuinfo_max_freq" 2>/dev/null)"; done; '
    "command -v taskset >/dev/null && echo pins"
)


@dataclass(frozen=True)
class Facts:
    """What a phone says of itself; `cores` the fastest first, none where it can't pin."""

    machine: str
    cores: tuple[int, ...]
    pins: bool


@dataclass(frozen=True)
class PhoneTurn(BoardTurn):
    """One process, with what the program printed."""

    summary: Summary


class Phone:
    """A device that runs `benchmark_model` over a link; `cores` none for a choice of its own."""

    def __init__(self, name: str, open_board: Callable[[], Board], *, program: Path, cores: tuple[int, ...]) -> None:
        self.name = name
        self._open_board, self._program, self._cores = open_board, program, cores

    @property
    def machine(self) -> str:
        """The phone's name, system and processor, and the cores that are used when the user named them."""
        pinned = f", on cores {','.join(map(str, self._cores))}" if self._cores else ""
        return f"{self._facts.machine}{pinned}"

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the program's name, and the start of its digest: it tells no version."""
        if not is_tflite(model):
            raise RefusedError(
                f"{self.name} can't run {model.name}: benchmark_model takes TFLite files; give one", model
            )
        return "benchmark_model", self._program_sha256[:12]

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files in turns."""
        for model in models:
            self.runtime(model)
        cores = self._chosen(request.threads)
        with self._open_board() as board:
            turns = take_turns(models, request.processes, lambda model: self._turn(board, model, request, cores))
        plain = [[taken.turn for taken in each] for each in turns]
        found = measurements(models, plain, request, device=self.name, machine=self.machine)
        return [
            tuple(_told(measured, each, cores) for measured in all_) for all_, each in zip(found, turns, strict=True)
        ]

    def _turn(self, board: Board, model: Path, request: Request, cores: tuple[int, ...]) -> PhoneTurn:
        program = board.place(self._program, "benchmark_model")
        command = command_line(program, board.place(model, "model"), request)
        pinned = ["taskset", f"{sum(1 << core for core in cores):x}", *command] if cores else command
        seconds = wall_seconds(request)
        limit = math.ceil(seconds * request.threads * CPU_SECONDS_A_SECOND)
        ended = board.run(pinned, seconds=seconds, cpu_seconds=limit, core=cores[0] if cores else 0)
        done = ended.finished
        if not done.ok:
            why = complaint(done.stdout, done.stderr)
            raise DeviceError(f"{self.name} can't run {model.name}: it {explain(done)}{f' ({why})' if why else ''}")
        summary = read_summary(done.stdout + done.stderr, f"{self.name}, {model.name}")
        runtime, version = self.runtime(model)
        turn = Turn(
            samples_us=(summary.typical_us,),
            cpu_over_wall=1.0 if ended.cpu_over_wall is None else ended.cpu_over_wall,
            neighbours_busy=0.0,
            runtime=runtime,
            runtime_version=version,
            model_sha256=sha256(model.read_bytes()).hexdigest(),
            load_us=summary.load_us,
            first_us=summary.first_us,
            peak_kib=summary.peak_kib,
        )
        return PhoneTurn(turn, ended.before, ended.after, summary)

    def _chosen(self, threads: int) -> tuple[int, ...]:
        if self._cores and not self._facts.pins:
            raise DeviceError(f"{self.name} has no taskset, so that nothing can be pinned; leave cores= out")
        if foreign := sorted(set(self._cores) - set(self._facts.cores)):
            known = ",".join(map(str, sorted(self._facts.cores)))
            raise DeviceError(f"{self.name} has no core {foreign[0]}; it has {known}")
        usable = self._cores or self._facts.cores
        if threads > len(usable):
            raise DeviceError(f"{self.name}: {threads} threads want {threads} cores; usable: {len(usable)}")
        chosen = self._cores or usable[:threads]
        return tuple(sorted(chosen)) if self._facts.pins else ()

    @cached_property
    def _facts(self) -> Facts:
        with self._open_board() as board:
            finished = board.ask(["sh", "-c", PROBE, "sh", *PROPERTIES, ABI])
        return _read_facts(finished.stdout, self.name)

    @cached_property
    def _program_sha256(self) -> str:
        return sha256(self._program.read_bytes()).hexdigest()


def _told(measured: Measurement, turns: Sequence[PhoneTurn], cores: tuple[int, ...]) -> Measurement:
    """Return a measurement that says what its figures rest on; the program tells its samples' number, not the samples."""
    summaries = [taken.summary for taken in turns]
    how = f"{told(summaries)}{'' if cores else '; not pinned'}"
    seen = sum(summary.count for summary in summaries) if measured.quantity == "latency" else measured.samples
    return with_circumstances(
        replace(
            measured, samples=seen, p90=None, p90_low=None, p90_high=None, p99=None, drift=None, histogram=None, how=how
        ),
        turns,
        cores,
    )


def _read_facts(text: str, name: str) -> Facts:
    lines = [line.split(" ", 2) for line in text.splitlines()]
    properties = {line[1]: line[2].strip() for line in lines if len(line) == 3 and line[0] == "property"}
    clocks = {
        int(line[1]): int(line[2]) if len(line) == 3 and line[2].isdigit() else 0
        for line in lines
        if line[0] == "core" and line[1].isdigit()
    }
    if not clocks or ABI not in properties:
        raise DeviceError(f"{name}: what it says of itself can't be read; see whether `adb shell getprop` works")
    maker, model, soc, release, build = (properties.get(key, "")[:60] for key in PROPERTIES)
    title = " ".join(part for part in (maker, model) if part) or "phone"
    system = f"Android {release} {build} {properties[ABI][:20]}".replace("  ", " ")
    parts = [title, soc, f"{len(clocks)} cores", system]
    cores = tuple(sorted(clocks, key=lambda core: (-clocks[core], -core)))
    return Facts(", ".join(part for part in parts if part), cores, any(line == ["pins"] for line in lines))
