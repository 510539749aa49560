"""One bounded subprocess: the only way in which edgepress runs someone else's file.

Limits stand on wall time, processor time, memory, size of files, open files and captured output. The child gets a process
group of its own, which is killed whole at the end, and few environment variables: none of the caller's secrets, and no
PYTHONPATH. Python children start with `-P`, so that a folder named `devices/` or `targets/` beside a script never shadows
an installed package. On Linux it has no network (`limited.py`). The files that its user may read stay readable: this guards against broken, careless and
curious models, not against a targeted attack on the kernel.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.errors import DeviceError, ModelError

LONGEST_TOLD = 200
UNFLUSHED = 120
"""How Python ends where its last words can't be written (docs.python.org/3/library/sys.html#sys.exit)."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")

LIMITED = Path(__file__).with_name("limited.py")


@dataclass(frozen=True)
class Limits:
    """How much a child may use; address space, which `memory_mib` bounds, is several times what a runtime really touches."""

    wall_seconds: float = 120.0
    cpu_seconds: int = 240
    memory_mib: int = 8192
    file_mib: int = 1024
    open_files: int = 256
    output_kib: int = 4096


@dataclass(frozen=True)
class Finished:
    """How a child ended: `code` is its exit code, negative for the signal that ended it; outputs are cut at the limit."""

    code: int
    stdout: str
    stderr: str
    timed_out: bool
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with 0."""
        return self.code == 0 and not self.timed_out


def check_name(model: Path) -> None:
    """Refuse a path that ONNX Runtime and LiteRT can't open: they take UTF-8 alone, and would call a sound file broken."""
    try:
        str(model).encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"can't open model {model}: the runtimes take names in UTF-8 only; rename the file, or its folder"
        ) from error


def run_python(
    script: Path, arguments: Sequence[str], *, limits: Limits | None = None, cwd: Path | None = None
) -> Finished:
    """Run a Python file under limits, by this interpreter."""
    return run_bounded([sys.executable, "-P", str(script), *arguments], limits=limits, cwd=cwd)


def run_bounded(command: Sequence[str], *, limits: Limits | None = None, cwd: Path | None = None) -> Finished:
    """Run a command under limits and return how it ended; DeviceError only where it can't be started at all."""
    bounds = limits or Limits()
    numbers = (bounds.cpu_seconds, bounds.memory_mib * 2**20, bounds.file_mib * 2**20, bounds.open_files)
    wrapped = [sys.executable, "-I", "-S", str(LIMITED), *map(str, numbers), *command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        try:
            child = subprocess.Popen(  # noqa: S603  # running a command under limits is what this module is for
                wrapped,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"can't start {command[0]!r}: {error.strerror}") from error
        timed_out = _wait(child, bounds.wall_seconds)
        seconds = time.monotonic() - started
        if child.returncode == UNFLUSHED and not _has_room(out):
            raise DeviceError(
                f"the disk of {tempfile.gettempdir()} is full, so that a process under limits could say nothing; free some space, then run again"
            )
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(bounds.output_kib * 1024).decode(errors="replace"))
    return Finished(child.returncode, texts[0], texts[1], timed_out, seconds)


def explain(finished: Finished) -> str:
    """Say in a few words why a child failed: its limit, its signal, or the last line that it wrote to stderr."""
    if finished.timed_out:
        return f"stopped after {finished.seconds:.0f} s"
    if finished.code < 0:
        ended_by = signal.Signals(-finished.code)
        meanings = {signal.SIGXCPU: "used up its processor time", signal.SIGXFSZ: "wrote too much"}
        return meanings.get(ended_by, f"crashed with {ended_by.name}")
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    last = (
        re.sub(r"^(\w+\.)+(?=\w+: )", "", lines[-1]) if lines else "it said nothing"
    )  # an error's module says nothing more
    if len(last) > LONGEST_TOLD:  # the runtimes say what at the start and why at the end
        last = f"{last[: LONGEST_TOLD // 2]} ... {last[-LONGEST_TOLD // 2 :]}"
    return f"ended with {finished.code}: {last}"


def _has_room(file: IO[bytes]) -> bool:
    """Say whether the file system of a file takes another mebibyte."""
    room = os.statvfs(file.fileno())
    return room.f_bavail * room.f_frsize > 2**20


def _wait(child: subprocess.Popen[bytes], wall_seconds: float) -> bool:
    """Wait for the child, then kill what is left of its group; return whether time ran out."""
    try:
        child.wait(timeout=wall_seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        _kill_group(child)
        child.wait()
    return False


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # nobody is left


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}
