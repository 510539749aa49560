"""An Android phone by the adb client: adb[:serial][?benchmark=PATH&cores=6,7&keep=1], or with ?python=PATH instead.

A phone has no Python, so the user gives LiteRT's `benchmark_model` for its processor, by `benchmark=` or the environment's
EDGEPRESS_BENCHMARK_MODEL; a phone that does have one (in a chroot, or a board that speaks adb) runs `runner.py` by `python=`.
Files go to /data/local/tmp/edgepress, by their hash. The client's exit code isn't trusted: it is 0 when the line is cut, so
each command's own last line says how it ended. The user's adb server is used as it is, and left running.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from devices.board import MOST_OUTPUT_BYTES, STEP_SECONDS, Board, LinkLostError
from devices.circumstances import MARK
from devices.phone import Phone
from devices.python_board import PythonBoard
from devices.sandbox import Finished, explain
from devices.spec import read_cores, read_path, read_switch, split_options
from pipeline.errors import DeviceError
from targets import Target

OPTIONS = ("benchmark", "python", "cores", "keep")
BENCHMARK = "EDGEPRESS_BENCHMARK_MODEL"
FOLDER = "/data/local/tmp/edgepress"
SERIAL = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:%\[\]()-]*")
BACK_SECONDS = 20.0
"""In which a phone whose line broke must be back."""
POLL_SECONDS, BACK_POLL_SECONDS = 0.02, 0.2
PASSING = ("offline", "connecting", "authorizing")
"""States that a phone passes through when its line comes back."""
ADVICE = {
    "unauthorized": "unlock the phone and accept this computer's key",
    "authorizing": "unlock the phone and accept this computer's key",
    "offline": "plug it in again, or: adb reconnect offline",
    "no permissions": "this user may not open the USB device; see developer.android.com/tools/device on udev rules",
    "recovery": "start the phone's system",
    "sideload": "start the phone's system",
    "bootloader": "start the phone's system",
}


class AdbLink:
    """A phone that the adb server knows; each command is a client of its own."""

    def __init__(self, name: str, serial: str) -> None:
        self.name, self._serial = name, serial

    def execute(self, command: str, *, seconds: float) -> Finished:
        """Run a line of shell with an open standard input."""
        told = f'{command}; code=$?; echo; echo "{MARK} left $code"'
        finished = _adb(["-s", self._serial, "shell", told], seconds=seconds)
        if finished.timed_out:
            return finished
        text, mark, code = finished.stdout.replace("\r\n", "\n").rpartition(f"\n{MARK} left ")
        if not mark or not code.strip().isdigit():
            raise LinkLostError(finished.stderr.strip()[-200:] or "the connection ended")
        return Finished(int(code), text, finished.stderr, timed_out=False, seconds=finished.seconds)

    def push(self, source: Path, destination: str, *, seconds: float) -> None:
        """Write a file there."""
        finished = _adb(["-s", self._serial, "push", str(source.absolute()), destination], seconds=seconds)
        if finished.ok:
            return
        said = (finished.stderr + finished.stdout).strip()
        if "remote " in said and not finished.timed_out:
            raise DeviceError(f"{self.name}: can't write {source.name} there: {said.splitlines()[0][-200:]}")
        raise LinkLostError(said[-200:] or explain(finished))

    def close(self) -> None:
        """Leave the server as it is."""


class AdbLinks:
    """Makes links to one phone; the first wants it to be there, later ones give it time to come back."""

    def __init__(self, name: str, serial: str) -> None:
        self._name, self._serial, self._was_there = name, serial, False

    def __call__(self) -> AdbLink:
        """Return a link when the phone is ready."""
        until = time.monotonic() + BACK_SECONDS
        while (state := _state(self._serial)) != "device":
            passes = state in PASSING or (not state and self._was_there)
            if not passes or time.monotonic() > until:
                raise DeviceError(_why_not(self._serial, state))
            time.sleep(BACK_POLL_SECONDS)
        self._was_there = True
        return AdbLink(self._name, self._serial)


def connect(spec: str, _target: Target | None) -> Phone | PythonBoard:
    """Return the phone of a spec; without a serial, the only one that is there."""
    head, options = split_options(spec, OPTIONS)
    kind, colon, serial = head.partition(":")
    if kind != "adb" or (colon and not SERIAL.fullmatch(serial)):
        raise DeviceError(f"no device {spec!r}; write adb, or adb:SERIAL with a serial of `adb devices`")
    if "python" in options and "benchmark" in options:
        raise DeviceError(f"{spec}: give benchmark=, or python=, not both")
    serial = serial or os.environ.get("ANDROID_SERIAL", "") or _only_phone()
    name = f"adb:{serial}"
    keep = read_switch(options.get("keep"), "keep", spec)
    cores = read_cores(options["cores"], spec) if "cores" in options else ()

    def open_board() -> Board:
        return Board(name, AdbLinks(name, serial), folder=FOLDER, keep=keep)

    if "python" in options:
        return PythonBoard(name, open_board, python=options["python"], cores=cores)
    return Phone(name, open_board, program=_benchmark(name, options.get("benchmark")), cores=cores)


def state() -> str:
    """Say in a few words whether it can be used."""
    return shutil.which("adb") or "needs the adb client: on Debian, apt-get install adb"


def _benchmark(name: str, given: str | None) -> Path:
    found = given or os.environ.get(BENCHMARK, "")
    if not found:
        raise DeviceError(
            f"{name}: needs LiteRT's benchmark_model built for the phone (bazel build -c opt --config=android_arm64 "
            f"//tflite/tools/benchmark:benchmark_model); give ?benchmark=PATH, or set {BENCHMARK}"
        )
    path = read_path(found, name)
    if not path.is_file():
        raise DeviceError(f"{name}: no file {path}; give benchmark_model's path by ?benchmark= or {BENCHMARK}")
    return path


def read_devices(text: str) -> dict[str, str]:
    """Return the state of each serial in the output of `adb devices -l`."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        serial, _, rest = line.strip().partition(" ") if "\t" not in line else line.strip().partition("\t")
        if rest and not line.startswith(("List of devices", "*", "adb server")):
            found[serial] = "no permissions" if rest.strip().startswith("no permissions") else rest.split()[0]
    return found


def _only_phone() -> str:
    found = _devices()
    ready = [serial for serial, state in found.items() if state == "device"]
    if len(ready) == 1 and len(found) == 1:
        return ready[0]
    if not found:
        raise DeviceError("adb: no phone is there; plug one in with USB debugging on, or: adb connect HOST:PORT")
    if len(found) > 1:
        listed = ", ".join(f"{serial} ({state})" for serial, state in sorted(found.items()))
        raise DeviceError(f"adb: several phones are there: {listed}; name one: adb:SERIAL")
    raise DeviceError(_why_not(*next(iter(found.items()))))


def _why_not(serial: str, state: str) -> str:
    if not state:
        known = ", ".join(sorted(_devices())) or "none"
        return (
            f"adb:{serial}: no such phone; there: {known}; plug it in with USB debugging on, or: adb connect HOST:PORT"
        )
    return f"adb:{serial}: the phone is {state}; {ADVICE.get(state, 'see whether `adb shell` works')}"


def _state(serial: str) -> str:
    return _devices().get(serial, "")


def _devices() -> dict[str, str]:
    finished = _adb(["devices", "-l"], seconds=STEP_SECONDS)
    if not finished.ok:
        raise DeviceError(f"adb: the client fails: it {explain(finished)}; see whether `adb devices` works")
    return read_devices(finished.stdout)


def _adb(arguments: list[str], *, seconds: float) -> Finished:
    """Run the client with a standard input that stays open until it ends; its outputs are bounded, and so is its time."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(["adb", *arguments], stdin=subprocess.PIPE, stdout=out, stderr=err)  # noqa: S603, S607  # the user's own client
        except OSError as error:
            raise DeviceError(
                f"can't start adb ({error.strerror}); install Android's platform tools, on Debian: apt-get install adb"
            ) from error
        with child:
            try:
                timed_out = _wait(child, (out.fileno(), err.fileno()), started + seconds)
            finally:
                child.kill()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(MOST_OUTPUT_BYTES).decode(errors="replace"))
    return Finished(child.returncode, texts[0], texts[1], timed_out, time.monotonic() - started)


def _wait(child: subprocess.Popen[bytes], outputs: tuple[int, int], until: float) -> bool:
    """Return whether the time ran out; DeviceError for more output than anything of ours prints."""
    while child.poll() is None:
        if any(os.fstat(output).st_size > MOST_OUTPUT_BYTES for output in outputs):
            raise DeviceError(
                f"a program on the phone printed more than {MOST_OUTPUT_BYTES // 2**20} MiB and was stopped"
            )
        if time.monotonic() > until:
            return True
        time.sleep(POLL_SECONDS)
    return False
