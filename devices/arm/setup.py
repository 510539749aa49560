"""Set up the Arm userland: fetch, unpack, compile the counter, try it, and only then put it in its place.

An interrupted set-up leaves a folder that no one looks at and the next one removes; two at once wait for each other. Its record,
`setup.json`, names every file that was fetched with its digest, and what the set-up cost. One that is there is tried again, and
built anew when it fails: then something in the cache was lost.
"""

import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout

from devices.arm import debian, wheels
from devices.arm.userland import PACKAGES, PLUGIN_SOURCE, QEMU, RECORD, ROOTS, Userland, expected
from devices.sandbox import Limits, explain
from pipeline.errors import DeviceError

LOCK_SECONDS = 900
NEEDS_MB = 700
COMPILE_SECONDS = 120
TRIAL = Limits(wall_seconds=300)
FOLDERS = {"amd64": "host", "arm64": ROOTS[64], "armhf": ROOTS[32]}
RUNNERS_IMPORTS = (
    "import argparse, contextlib, hashlib, importlib.metadata, json, platform, resource, subprocess, numpy.random; "
    "importlib.metadata.version('{distribution}'); "
)
TRIALS = {
    64: f"{RUNNERS_IMPORTS.format(distribution='onnxruntime')}"
    "import onnxruntime; from ai_edge_litert.interpreter import Interpreter",
    32: f"{RUNNERS_IMPORTS.format(distribution='tflite-runtime')}"
    "assert numpy.__version__ < '2'; from tflite_runtime.interpreter import Interpreter",
}
"""What a guest imports to run a model: it is tried, and compiled for good."""


@dataclass(frozen=True)
class Cost:
    """What a set-up took; `fetched_mb` is 0 where the cache had everything."""

    folder: Path
    seconds: float
    fetched_mb: float
    disk_mb: float
    qemu: str


def set_up(say: Callable[[str], None]) -> Cost:
    """Build the userland unless it is there and works, and say what that cost."""
    started = time.monotonic()
    wanted = expected()
    try:
        wanted.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(wanted.folder.parent / "qemu.lock", timeout=LOCK_SECONDS):
            return _set_up(wanted, say, started)
    except Timeout as error:
        raise DeviceError(f"another set-up of qemu runs since {LOCK_SECONDS // 60} minutes; wait for it") from error
    except OSError as error:
        raise DeviceError(
            f"can't set up qemu in {wanted.folder.parent} ({error.strerror or error}); name another folder in EDGEPRESS_CACHE"
        ) from error


def _set_up(wanted: Userland, say: Callable[[str], None], started: float) -> Cost:
    if wanted.complete:
        say("trying the userland in the cache")
        if not _complaint(wanted):
            return _cost(wanted, started, fetched_mb=0.0)
        say("it doesn't work any more; building it anew")
    _need_this_machine(wanted.folder.parent)
    for stale in wanted.folder.parent.glob("qemu-*.partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{wanted.folder.name}.partial-", dir=wanted.folder.parent))
    try:
        fetched_mb = _build(draft, say)
        if complaint := _complaint(Userland(draft)):
            raise DeviceError(f"qemu is set up but doesn't run Arm's Python here: {complaint}")
        shutil.rmtree(wanted.folder, ignore_errors=True)
        draft.rename(wanted.folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _cost(wanted, started, fetched_mb=fetched_mb)


def _need_this_machine(cache: Path) -> None:
    """Say what is missing before anything is fetched."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise DeviceError(
            f"qemu's set-up works on Debian 12 and 13 for x86-64; this is {platform.system()} {platform.machine()}"
        )
    compiler()
    free_mb = shutil.disk_usage(cache).free / 1e6
    if free_mb < NEEDS_MB:
        raise DeviceError(
            f"qemu's set-up needs {NEEDS_MB} MB, {cache} has {free_mb:.0f}; name another folder in EDGEPRESS_CACHE"
        )


def _build(folder: Path, say: Callable[[str], None]) -> float:
    """Fill a folder and return how many MB were fetched."""
    with tempfile.TemporaryDirectory(prefix="fetched-", dir=folder) as place:
        fetched = Path(place)
        say(f"fetching {len(PACKAGES)} packages of Debian {debian.SUITE}")
        packages, index_mb = debian.fetch(PACKAGES, fetched)
        say("fetching the runtimes' wheels for aarch64 and armv7")
        modules = {bits: wheels.fetch(bits, fetched / str(bits)) for bits in wheels.LOCKED}
        say("unpacking, and compiling the counter")
        for package in packages:
            debian.unpack(package, folder / FOLDERS[package.stem.rpartition("_")[2]])
        for bits, found in modules.items():
            for wheel in found:
                wheels.unpack(wheel, folder / f"modules{bits}")
        _prune(folder)
        _compile(folder / "edgecount.so")
        every = [*packages, *(wheel for found in modules.values() for wheel in found)]
        version = next(path.name.split("_")[1] for path in packages if path.name.startswith("qemu-user_"))
        digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in every}
        fetched_mb = index_mb + sum(path.stat().st_size for path in every) / 1e6
    record = {"qemu": version.replace("%3a", ":"), "fetched_mb": round(fetched_mb, 1), "sha256": digests}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return fetched_mb


def _prune(folder: Path) -> None:
    """Drop the emulators of other machines, and documentation: a third of it all."""
    for program in (folder / "host" / "usr" / "bin").iterdir():
        if program.name not in QEMU.values():
            program.unlink()
    for root in FOLDERS.values():
        for name in ("doc", "man", "locale", "lintian"):
            shutil.rmtree(folder / root / "usr" / "share" / name, ignore_errors=True)


def compiler() -> str:
    """Return a C compiler; DeviceError when there is none."""
    names = [name for name in (os.environ.get("CC"), "cc", "gcc", "clang") if name]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise DeviceError("qemu's set-up compiles its counter and found no C compiler; apt-get install gcc libc6-dev")
    return found


def _compile(library: Path) -> None:
    source = library.with_suffix(".c")
    source.write_text(PLUGIN_SOURCE, encoding="utf-8")
    command = [compiler(), "-std=c11", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)  # noqa: S603  # the compiler, on a source of our own
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["it said nothing"]
        raise DeviceError(f"can't compile qemu's counter: {lines[0][:200]}; apt-get install gcc libc6-dev")


def _complaint(userland: Userland) -> str:
    """Start both guests, import their runtimes, and return what failed; empty when nothing did."""
    for bits, program in TRIALS.items():
        with tempfile.TemporaryDirectory(prefix="edgepress-qemu-") as place:
            prefix = Path(place) / "root"
            userland.lay_root(prefix, bits)
            _plain_cpuinfo(prefix)
            cpu, plugin = ("cortex-a72" if bits == 64 else "cortex-a15"), [f"out={place}/counts"]
            done = userland.run(
                prefix, ["-c", program], bits=bits, cpu=cpu, plugin=plugin, keep_compiled=True, limits=TRIAL
            )
        if not done.ok:
            return f"the {bits}-bit guest {explain(done)}"
    return ""


def _plain_cpuinfo(prefix: Path) -> None:
    """Hide the host's processor, which ONNX Runtime can't make sense of."""
    (prefix / "proc").mkdir()
    lines: Sequence[str] = ("processor\t: 0", "Features\t: fp asimd", "CPU implementer\t: 0x41", "CPU part\t: 0xd08")
    (prefix / "proc" / "cpuinfo").write_text("\n".join(lines) + "\n", encoding="ascii")


def _cost(userland: Userland, started: float, *, fetched_mb: float) -> Cost:
    files = [path for path in userland.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return Cost(
        folder=userland.folder,
        seconds=time.monotonic() - started,
        fetched_mb=fetched_mb,
        disk_mb=sum(path.stat().st_size for path in files) / 1e6,
        qemu=userland.qemu_version,
    )
