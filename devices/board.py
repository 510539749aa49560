"""A board at the far end of a link: files by their hash, commands that end with the link, and nothing left behind.

Files lie in a folder of our own on the board, each in one named after its sha256, and appear there whole or not at all: what is
pushed has another name until its hash was found right. They are removed at the end, whether they were there before or not,
unless `keep` says otherwise. Whoever has a board has it alone (`leases.py`): another's end would remove the files that both need.

GUARD starts a program on the board and ends with it. Its standard input is the link's: when that ends, because the link
was cut or the caller is gone, the program is killed and what was pushed is removed. Its pid stands in a file, so that a new
connection kills what an old one might have left. The last line says how the program ended: without it, the link broke. A link that breaks is
opened anew once; the second time it is an error.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from secrets import token_hex
from types import TracebackType
from typing import Protocol, Self, TypeVar

from devices.circumstances import MARK, SCRIPT, Circumstances, read_circumstances
from devices.leases import waited_for
from devices.sandbox import Finished, explain
from pipeline.errors import DeviceError

T = TypeVar("T")
MOST_OUTPUT_BYTES = 8 * 2**20
"""Of one command: 5,000 samples are about 60 KB."""
STEP_SECONDS = 30.0
LEAST_PUSHED_PER_SECOND = 100_000
"""Bytes; a slower link is as good as none."""
LEAST_TOLD_SECONDS = 1.0
KILLED, LAST_SIGNAL = 128, 31
"""A shell gives a program that a signal ended this and the signal's number (POSIX.1-2017, Shell & Utilities, 2.8.2)."""

MIDDLE = f"{MARK} ended"
GUARD = (
    f"{SCRIPT}; up() {{ echo '{MARK} uptime' $(cut -d' ' -f1 /proc/uptime 2>/dev/null); }}; "
    'trap "" HUP PIPE; pid=$1; ours=$2; core=$3; seconds=$4; shift 4; exec 3<&0; facts $core; up; '
    '{ trap - HUP PIPE; ulimit -S -t $seconds; exec "$@"; } </dev/null 3<&- & p=$!; echo $p >"$pid"; '
    "{ read -r nothing <&3; rm -rf $ours; kill -9 $p; } >/dev/null 2>&1 & w=$!; "
    'wait $p; code=$?; kill $w 2>/dev/null; wait $w 2>/dev/null; rm -f "$pid"; rmdir "${pid%/*}" 2>/dev/null; '
    f'echo; echo "{MIDDLE}"; up; times; facts $core; echo "{MARK} exit $code"'
)
FIND = 'mkdir -p "$1" && chmod 700 "$1" || exit; [ -f "$2" ] || { echo absent; exit; }; sha256sum "$2" 2>/dev/null || echo unknown'
SETTLE = (
    'command -v sha256sum >/dev/null && case "$(sha256sum "$1")" in "$3 "*) ;; *) echo damaged; rm -f "$1"; exit;; esac; '
    'chmod 700 "$1" && mv "$1" "$2" && echo there'
)
CLEAN = (
    'cd "$1" 2>/dev/null || exit 0; [ -f "$2" ] && p=$(cat "$2") && '
    'case "$(tr "\\0" " " <"/proc/$p/cmdline" 2>/dev/null)" in *"$1"*) kill -9 "$p";; esac; '
    'rm -f "$2"; shift 2; for f in "$@"; do rm -rf "./$f"; done; rmdir "$PWD" 2>/dev/null; :'
)


class LinkLostError(DeviceError):
    """The link to a board broke while something ran there."""


class Link(Protocol):
    """A connection over which commands run and files go."""

    def execute(self, command: str, *, seconds: float) -> Finished:
        """Run a line of shell with an open standard input; LinkLostError when the connection broke meanwhile."""

    def push(self, source: Path, destination: str, *, seconds: float) -> None:
        """Write a file there; LinkLostError as above, DeviceError when it can't be written."""

    def close(self) -> None:
        """End the connection."""


@dataclass(frozen=True)
class Ended:
    """How a guarded program ended, and what the board said of itself before and after.

    `cpu_over_wall` is the program's processor time over the time that it took, start-up and all; None where it was too short
    for the board's clock, which ticks a hundred times a second.
    """

    finished: Finished
    before: Circumstances
    after: Circumstances
    cpu_over_wall: float | None = None


class Board:
    """A context: leased at once, opened with the first command, cleaned up and closed at the end."""

    def __init__(self, name: str, open_link: Callable[[], Link], *, folder: str, keep: bool = False) -> None:
        self.name, self.folder = name, folder
        self._open_link, self._keep = open_link, keep
        self._link: Link | None = None
        self._placed: dict[str, Path] = {}
        self._pid = f"{folder}/{token_hex(8)}.pid"
        self._broke = False
        self._lease = ExitStack()

    def __enter__(self) -> Self:
        """Wait until it is free; open nothing yet: the first command does."""
        self._lease.enter_context(waited_for(self.name))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Remove what was pushed, close and end the lease; a board that can't be reached any more is named, unless an error is under way."""
        try:
            self._leave()
        except DeviceError as unreachable:
            left = DeviceError(
                f"{self.name}: can't clean up ({unreachable}); what was pushed may still be in {self.folder}"
            )
            if error is None:
                raise left from unreachable
            if isinstance(error, DeviceError):
                raise DeviceError(f"{error}; what was pushed may still be in {self.folder} there") from error
        finally:
            with self._lease:
                self._close()

    def place(self, source: Path, name: str) -> str:
        """Return where a file is on the board, pushed if it isn't there yet."""
        destination = f"{self.folder}/{_digest(source)}/{name}"
        if destination not in self._placed:
            self._placed[destination] = source
            self._once_more(lambda: self._push(source, destination))
        return destination

    def ask(self, command: Sequence[str], *, seconds: float = STEP_SECONDS) -> Finished:
        """Run a command that changes nothing."""
        return self._once_more(lambda: self._opened().execute(shlex.join(command), seconds=seconds))

    def run(self, command: Sequence[str], *, seconds: float, cpu_seconds: int, core: int = 0) -> Ended:
        """Run a program under guard; `core` is the one whose clock is looked at."""
        ours = "" if self._keep else " ".join(f"{self.folder}/{name}" for name in self._folders())
        guarded = ["sh", "-c", GUARD, "sh", self._pid, ours, str(core), str(cpu_seconds), *command]
        return self._once_more(lambda: _ended(self._opened().execute(shlex.join(guarded), seconds=seconds)))

    def _once_more(self, step: Callable[[], T]) -> T:
        """Take a step; where the link breaks, open it anew, put everything back in place and take the step again: once."""
        try:
            return step()
        except LinkLostError as lost:
            self._close()
            if self._broke:
                raise self._given_up(lost) from lost
            self._broke = True
            self._take_up(lost)
        try:
            return step()
        except LinkLostError as lost:
            self._close()
            raise self._given_up(lost) from lost

    def _take_up(self, lost: LinkLostError) -> None:
        try:
            self._clean_up(())
            for destination, source in self._placed.items():
                self._push(source, destination)
        except LinkLostError as again:
            self._close()
            raise self._given_up(again) from again
        except DeviceError as error:
            raise DeviceError(
                f"{self.name}: the connection broke ({lost}) and can't be taken up again: {error}"
            ) from error

    def _given_up(self, lost: LinkLostError) -> DeviceError:
        return DeviceError(
            f"{self.name}: the connection broke twice ({lost}); see to the link and the supply, then try again"
        )

    def _push(self, source: Path, destination: str) -> None:
        folder, part = str(PurePosixPath(destination).parent), f"{destination}.part"
        digest = PurePosixPath(folder).name
        if self._shell(FIND, folder, destination).startswith(digest):
            return
        seconds = STEP_SECONDS + source.stat().st_size / LEAST_PUSHED_PER_SECOND
        self._opened().push(source, part, seconds=seconds)
        if self._shell(SETTLE, part, destination, digest) != "there":
            raise DeviceError(f"{self.name}: {source.name} arrived damaged, or changed while it was pushed; try again")

    def _shell(self, script: str, *arguments: str) -> str:
        """Return the last line that a script printed; a login may print others before it."""
        command = shlex.join(["sh", "-c", script, "sh", *arguments])
        finished = self._opened().execute(command, seconds=STEP_SECONDS)
        if not finished.ok:
            raise DeviceError(f"{self.name} can't hold our files in {self.folder}: it {explain(finished)}")
        return (finished.stdout.strip().splitlines() or [""])[-1]

    def _clean_up(self, folders: Sequence[str]) -> None:
        """Kill what a broken link may have left, and remove folders of ours."""
        if self._placed:
            self._shell(CLEAN, self.folder, PurePosixPath(self._pid).name, *folders)

    def _leave(self) -> None:
        """Clean up for good, over a new link where the old one broke."""
        folders = [] if self._keep else self._folders()
        try:
            self._clean_up(folders)
        except LinkLostError:
            self._close()
            self._clean_up(folders)

    def _folders(self) -> list[str]:
        return [PurePosixPath(path).parent.name for path in self._placed]

    def _opened(self) -> Link:
        if self._link is None:
            self._link = self._open_link()
        return self._link

    def _close(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            link.close()


def _digest(source: Path) -> str:
    try:
        return sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise DeviceError(f"can't read {source} ({error.strerror})") from error


def _ended(finished: Finished) -> Ended:
    """Take what the guard printed apart."""
    if finished.timed_out:
        return Ended(finished, Circumstances(), Circumstances())
    lines = finished.stdout.splitlines()
    last = re.fullmatch(rf"{MARK} exit (\d+)", lines[-1]) if lines else None
    if last is None or MIDDLE not in lines:
        raise LinkLostError("it fell silent before the program there had ended")
    middle = len(lines) - 1 - lines[::-1].index(MIDDLE)
    output = "\n".join(line for line in lines[:middle] if not line.startswith(MARK))
    code = int(last[1])
    ended = replace(finished, code=KILLED - code if KILLED < code <= KILLED + LAST_SIGNAL else code, stdout=output)
    before, after = lines[:middle], lines[middle:]
    return Ended(ended, read_circumstances(before), read_circumstances(after), _cpu_over_wall(before, after))


def _cpu_over_wall(before: Sequence[str], after: Sequence[str]) -> float | None:
    """Read `uptime` before and after, and the second line of `times`: what ended children used, e.g. "0m1.20s 0m0.03s"."""
    ticks = [
        float(found[1]) for line in (*before, *after) if (found := re.fullmatch(rf"{MARK} uptime (\d+\.\d+)", line))
    ]
    used = [re.findall(r"(\d+)m(\d+\.\d+)s", line) for line in after]
    times = [sum(int(minutes) * 60 + float(rest) for minutes, rest in pair) for pair in used if len(pair) == 2]
    wall = ticks[-1] - ticks[0] if len(ticks) >= 2 else 0.0
    return times[1] / wall if wall >= LEAST_TOLD_SECONDS and len(times) == 2 else None
