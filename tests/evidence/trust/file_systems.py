"""Whole runs on file systems that aren't Linux's own: one that takes "A" and "a" for the same name, and one that is slow.

`python -m tests.evidence.trust.file_systems [--delay-ms 20] [--out results.json]`

exFAT is in a file of its own: it knows no links, no owners and no letters' case, and is mounted through a loop device, which takes root. The slow one is a folder
through sftp, each answer of whose server is held back. Recipe, store, delivered files and temporary files lie there. Two runs of one recipe start at once, and
must end well, make each step once, and leave the digests of a run on this machine's own disk; what is collected must go, and a third run must find it all.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.evidence.trust import whole_runs

MADE = re.compile(r"^(\S+) +(cached|[\d.]+ s) +[0-9a-f]{12}$", re.MULTILINE)
NEEDED = {
    "mkfs.exfat": "exfatprogs",
    "mount.exfat-fuse": "exfat-fuse",
    "sshfs": "sshfs",
    "sftp-server": "openssh-sftp-server",
}
SFTP_FOLDERS = ("/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh")
IMAGE_BYTES = 2**28
MOUNT_SECONDS = 30
EPOCHS = 1


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    refuse_unless_possible()
    found = study(delay_ms=asked.delay_ms)
    text = json.dumps(found, indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(1 if any(found[name]["wrong"] for name in ("exfat", "slow")) else 0)


def refuse_unless_possible() -> None:
    """End in one line where the file systems can't be had."""
    missing = [package for tool, package in NEEDED.items() if tool_path(tool) is None]
    if missing or os.geteuid() != 0:
        sys.exit(
            f"file_systems mounts: it takes root, and apt-get install {' '.join(NEEDED.values())} (missing: {', '.join(missing) or 'root'})"
        )


def tool_path(name: str) -> str | None:
    """Return where a tool lies; sbin and the sftp server's folder are on few users' PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", *SFTP_FOLDERS)))


def study(*, delay_ms: float) -> dict[str, Any]:
    """Return what `main` prints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("own", "exfat", "slow", "behind"):
            (folder / each).mkdir()
        own = runs(folder / "own", count=1)
        with exfat(folder / "exfat.image", folder / "exfat"):
            (folder / "exfat" / "A").touch()
            assert (folder / "exfat" / "a").exists()
            on_exfat = runs(folder / "exfat", count=2)
        with sftp(folder / "behind", folder / "slow", delay_ms / 1000):
            on_slow = runs(folder / "slow", count=2)
    for found in (on_exfat, on_slow):
        found["wrong"] += ["digests"] * (found["digests"] != own["digests"])
    results = {"own": own, "exfat": on_exfat, "slow": on_slow}
    for found in results.values():
        found["digests"] = len(found["digests"])
    return {"delay_ms": delay_ms, **results}


def runs(place: Path, *, count: int) -> dict[str, Any]:
    """Run a recipe as often at once, then collect, then again; return what came of it, and what was wrong."""
    whole_runs.write(place / "recipe", epochs=EPOCHS)
    (place / "tmp").mkdir()
    started = time.monotonic()
    processes = [start(place, f"out-{number}") for number in range(count)]
    told = [process.communicate()[1] for process in processes]
    seconds = time.monotonic() - started
    if any(process.returncode for process in processes):
        return {"seconds": round(seconds), "wrong": ["ended", *(text[-2000:] for text in told)], "digests": {}}
    makers = Counter(step for text in told for step, how in MADE.findall(text) if how != "cached")
    made = [whole_runs.digests(place / "store", place / f"out-{number}") for number in range(count)]
    gc = [whole_runs.EDGEPRESS, "gc", "--keep-days", "0"]
    collected = subprocess.run(gc, env=environment(place), capture_output=True, text=True, check=False)
    again = start(place, "again").communicate()[1]
    checks = {
        "made more than once": set(makers.values()) != {1},
        "different": any(each != made[0] for each in made),
        "corrupt": bool(whole_runs.corrupt(place / "store")),
        "not collected": collected.returncode != 0,
        "made again": {how for _, how in MADE.findall(again)} != {"cached"},
    }
    wrong = [name for name, is_wrong in checks.items() if is_wrong]
    return {"runs": count, "steps": len(makers), "seconds": round(seconds), "wrong": wrong, "digests": made[0]}


def start(place: Path, name: str) -> subprocess.Popen[str]:
    """Start a run that delivers into a folder of its own."""
    command = whole_runs.command(place / "recipe", place / name)
    return subprocess.Popen(
        command, env=environment(place), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def environment(place: Path) -> dict[str, str]:
    """Return a run's environment, with all that it writes in one place."""
    return {**whole_runs.environment(place / "store"), "TMPDIR": str(place / "tmp")}


@contextmanager
def exfat(image: Path, place: Path) -> Iterator[None]:
    """Mount a new exFAT file system."""
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run([tool_path("mkfs.exfat") or "", str(image)], check=True, stdout=subprocess.DEVNULL)
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        subprocess.run([tool_path("mount.exfat-fuse") or "", loop, str(place)], check=True, stdout=subprocess.DEVNULL)
        with mounted(place):
            yield
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


@contextmanager
def sftp(folder: Path, place: Path, delay_s: float) -> Iterator[None]:
    """Mount a folder through an sftp server of our own, each of whose answers comes late."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([tool_path("sftp-server") or ""], **pipes) as server:
        mount = ["sshfs", f":{folder}", str(place), "-f", "-o", "passive"]
        with subprocess.Popen(mount, stdin=subprocess.PIPE, stdout=server.stdin) as client:
            assert server.stdin is not None
            server.stdin.close()  # the client alone holds it, so that the server ends with it
            threading.Thread(target=pass_on, args=(server.stdout, client.stdin, delay_s), daemon=True).start()
            with mounted(place):
                yield


def pass_on(answers: Any, to: Any, delay_s: float) -> None:
    """Hold back what comes, then pass it on, until there is no more."""
    while data := answers.read1(1 << 16):
        time.sleep(delay_s)
        to.write(data)
        to.flush()


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """Wait until something is mounted there, and unmount it in the end."""
    until = time.monotonic() + MOUNT_SECONDS
    while not os.path.ismount(place):
        if time.monotonic() > until:
            sys.exit(f"nothing got mounted within {MOUNT_SECONDS} s; look at /dev/fuse and /dev/loop-control")
        time.sleep(0.05)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


if __name__ == "__main__":
    main()
