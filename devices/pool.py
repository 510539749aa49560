"""Boards of one kind that stand for one another: pool:SPEC,SPEC,... e.g. pool:ssh://pi@one,ssh://pi@two.

A board is leased by one measurement at a time (`leases.py`). Before each lease's work the board is asked what it is. One that doesn't answer, or
dies with a measurement in it, is taken out for a while and told of, and the next one does the work. A file that fails on a board
that answers afterwards is the file's fault. How long a measurement may take is the board's own limit; how long one waits for a
free board is the pool's.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from devices import Device, Measurement, Request, open_device
from devices.leases import WAIT_SECONDS, folder, lease, not_kept
from pipeline.errors import DeviceError, RefusedError
from targets import Target

T = TypeVar("T")
LOOK_SECONDS = 0.2
OUT_SECONDS = 600.0
"""After so long a board that was taken out is asked again."""
_NEXT = re.compile(r",(?=[a-z_]+(?:[:?,]|$))")
"""A comma before a backend's name: others belong to options, as in cores=2,3."""


@dataclass(frozen=True)
class TakenOut:
    """A board that doesn't work: its name, why, and since when (seconds since 1970)."""

    board: str
    why: str
    since: float


class Pool:
    """A device made of boards, their names by their specs; `wait_seconds` is how long it waits for a free one."""

    name = "pool"

    def __init__(
        self, boards: Mapping[str, str], target: Target | None, folder: Path, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self.boards, self.target, self.folder, self.wait_seconds = dict(boards), target, folder, wait_seconds
        self._runtimes: dict[str, tuple[str, str]] = {}

    @property
    def machine(self) -> str:
        """Which boards there are: a figure of one stands for all, as whoever made the pool says."""
        digest = sha256("\n".join(sorted(self.boards)).encode()).hexdigest()[:8]
        return f"one of {', '.join(sorted(self.boards.values()))} ({digest})"

    @property
    def taken_out(self) -> tuple[TakenOut, ...]:
        """The boards that don't work now, whichever process found it out."""
        return tuple(found for spec in self.boards if (found := self._mark(spec)))

    def runtime(self, model: Path) -> tuple[str, str]:
        """Return the runtime that a board has for this file."""
        kind = model.suffix
        if kind not in self._runtimes:
            self._runtimes[kind] = self._on_one(lambda board: board.runtime(model))
        return self._runtimes[kind]

    def measure(self, models: Sequence[Path], request: Request) -> list[tuple[Measurement, ...]]:
        """Measure files on one board, the first that is free and well."""
        return self._on_one(lambda board: board.measure(models, request))

    def _on_one(self, work: Callable[[Device], T]) -> T:
        """Have a board do something; where it dies of it, the next one."""
        while True:
            with self._leased() as (spec, board):
                try:
                    return work(board)
                except RefusedError:
                    raise
                except DeviceError as error:
                    if self._answers(spec) is not None:
                        raise
                    self._take_out(spec, str(error))

    @contextmanager
    def _leased(self) -> Iterator[tuple[str, Device]]:
        """Give a board that is free and answers; DeviceError where none does, or none gets free in time."""
        until = time.monotonic() + self.wait_seconds
        while True:
            for spec in self._well():
                with lease(self.boards[spec]) as free:
                    if free and (board := self._answers(spec)) is not None:
                        yield spec, board
                        return
            if time.monotonic() > until:
                raise DeviceError(
                    f"no board of {self.machine} got free in {self.wait_seconds:.0f} s; add boards to the pool, or take fewer workers"
                )
            time.sleep(LOOK_SECONDS)

    def _well(self) -> list[str]:
        """Return the boards that aren't taken out; DeviceError where none is left."""
        out = {found.board: found for found in self.taken_out}
        well = [spec for spec, name in self.boards.items() if name not in out]
        if not well:
            why = "; ".join(f"{found.board}: {found.why}" for found in out.values())
            raise DeviceError(
                f"every board of the pool is taken out ({why}); see to them, and remove {self.folder}/*.out or wait {OUT_SECONDS / 60:.0f} minutes"
            )
        return well

    def _answers(self, spec: str) -> Device | None:
        """Return a board if it says what it is; else take it out."""
        board = open_device(spec, self.target)
        try:
            assert board.machine
        except DeviceError as error:
            self._take_out(spec, str(error))
            return None
        return board

    def _take_out(self, spec: str, why: str) -> None:
        content = json.dumps({"board": self.boards[spec], "why": why[:500], "since": time.time()})
        draft = self._path(spec, f"{os.getpid()}.part")
        try:
            draft.write_text(content, encoding="utf-8")
            draft.replace(self._path(spec, "out"))
        except OSError as error:
            raise not_kept(draft, error) from error

    def _mark(self, spec: str) -> TakenOut | None:
        """Return why a board is out; one whose time is over comes back."""
        try:
            found = TakenOut(**json.loads(self._path(spec, "out").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if time.time() - found.since < OUT_SECONDS else None

    def _path(self, spec: str, ending: str) -> Path:
        return self.folder / f"{sha256(self.boards[spec].encode()).hexdigest()[:16]}.{ending}"


def connect(spec: str, target: Target | None) -> Pool:
    """Return the pool of a spec; nothing is connected yet."""
    specs = [part for part in _NEXT.split(spec.partition(":")[2]) if part]
    for part in specs:
        if part.partition(":")[0] == "pool":
            raise DeviceError(f"{spec!r:.200} holds a pool; name its boards instead")
    boards = {part: open_device(part, target).name for part in specs}
    if len(set(boards.values())) != len(specs) or not specs:
        raise DeviceError(f"{spec!r:.200} is no pool; name each board once: pool:ssh://pi@one,ssh://pi@two")
    return Pool(boards, target, folder())


def taken_out(device: Device) -> tuple[TakenOut, ...]:
    """Return the boards of a device that don't work now; only a pool can have any."""
    return device.taken_out if isinstance(device, Pool) else ()
