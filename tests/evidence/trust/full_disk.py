"""Fill the disk at random moments of whole runs: a clear line, nothing finished lost, and success once there is room.

`python -m tests.evidence.trust.full_disk [--moments 50] [--seed 0] [--out results.json]`

Store, delivered files and temporary files of a run lie on a tmpfs of their own, mounted in a mount namespace (`unshare`, no rights
needed). At a random moment a file takes all of its room, and what the run frees from then on. The run must end with exit code 2 and one line that says so,
or well where it had nothing left to write. Then the file goes, the same command runs again, and must end well: with the digests of a run in peace, and with
the very records of all that was finished before.
"""

import argparse
import errno
import importlib
import json
import os
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.evidence.trust import whole_runs

EPOCHS = 6
ROOM = "64m"
MARK = "EDGEPRESS_OWN_MOUNTS"
CHUNK = bytes(1 << 16)
NO_SPACE = os.strerror(errno.ENOSPC)
HEAVY = (
    "pipeline.stages.prune",
    "pipeline.stages.quantize",
    "pipeline.stages.export_onnx",
    "pipeline.stages.export_tflite",
)


def main() -> None:
    """Print what happened; in a mount namespace of our own, where this command starts itself again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if MARK not in os.environ:
        again = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.evidence.trust.full_disk"]
        sys.exit(subprocess.run([*again, *sys.argv[1:]], env={**os.environ, MARK: "1"}, check=False).returncode)
    found = study(moments=asked.moments, seed=asked.seed)
    text = json.dumps(found, indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    wrong = ("lost", "different", "half_written", "unclear", "not_well_after")
    sys.exit(1 if any(found[name] for name in wrong) else 0)


def study(*, moments: int, seed: int) -> dict[str, Any]:
    """Return what `main` prints."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    started = time.monotonic()
    for name in HEAVY:
        importlib.import_module(name)  # once, for all forks
    place = Path("/mnt")
    mounted(place)
    begun = time.monotonic()
    ended, told = run(place)
    if ended:
        raise SystemExit(f"a run in peace ended with {ended}: {told[-2000:]}")
    peace, seconds = whole_runs.digests(place / "store", place / "out"), time.monotonic() - begun
    found = [moment(place, chance.uniform(0, seconds), peace) for _ in range(moments)]
    names = ("lost", "different", "half_written", "unclear", "not_well_after")
    sums = {name: sum(bool(each[name]) for each in found) for name in names}
    refused = sum(each["ended_with"] == 2 for each in found)
    return {
        "seed": seed,
        "moments": moments,
        "ended_with_2": refused,
        **sums,
        "seconds_in_peace": round(seconds, 1),
        "seconds": round(time.monotonic() - started),
        "found": found,
    }


def moment(place: Path, after_s: float, peace: dict[str, str]) -> dict[str, Any]:
    """Fill the disk at one moment of a fresh run, then make room; return what was found wrong."""
    mounted(place)
    ended, told = run(place, full_after_s=after_s)
    before = records(place / "store")
    half = whole_runs.half_written(place / "out")
    again, told_again = run(place)
    after = records(place / "store")
    own = {} if again else whole_runs.digests(place / "store", place / "out")
    last = told.strip().splitlines()[-1] if told.strip() else ""
    clear = ended == 0 or (ended == 2 and last.startswith("edgepress: ") and ("full" in last or NO_SPACE in last))
    return {
        "after_s": round(after_s, 2),
        "ended_with": ended,
        "told": last,
        "steps_finished": len(before),
        "lost": [key for key, text in before.items() if after.get(key) != text],
        "half_written": half,
        "unclear": "" if clear and "Traceback" not in told else told[-2000:],
        "not_well_after": told_again[-2000:] if again else "",
        "different": [key for key in {*own, *peace} if own.get(key) != peace.get(key)],
    }


def mounted(place: Path) -> None:
    """Put an empty tmpfs of ROOM there, with the recipe in it."""
    while os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(place)], check=True)
    whole_runs.write(place / "recipe", epochs=EPOCHS)
    (place / "tmp").mkdir()


def run(place: Path, *, full_after_s: float | None = None) -> tuple[int, str]:
    """Run the command line in a fork, so that torch is imported once; return its exit code and what it told."""
    told = Path("/dev/shm") / f"told-{os.getpid()}"  # noqa: S108 - not on the disk that fills; read back and removed
    process = os.fork()
    if process == 0:
        as_command(place, told)
    ended = waited(process, None if full_after_s is None else place / "filler", full_after_s or 0.0)
    (place / "filler").unlink(missing_ok=True)
    text = told.read_text(encoding="utf-8", errors="replace")
    told.unlink()
    return ended, text


def as_command(place: Path, told: Path) -> None:
    """Become `edgepress run`; never returns."""
    try:
        file = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(whole_runs.environment(place / "store"), TMPDIR=str(place / "tmp"))
        sys.argv = whole_runs.command(place / "recipe", place / "out")
        from pipeline.cli import main as command

        command()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
    except BaseException:  # noqa: BLE001 - a fork must not return into its parent's code, whatever happens
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def waited(process: int, filler: Path | None, after_s: float) -> int:
    """Wait for a process, from `after_s` on with no room left on the disk; return how it ended."""
    started = time.monotonic()
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if filler and time.monotonic() - started >= after_s:
            fill(filler)
        time.sleep(0.002)


def fill(filler: Path) -> None:
    """Take all the room that there is."""
    with filler.open("ab", buffering=0) as file:
        for chunk in (CHUNK, CHUNK[:4096], CHUNK[:1]):
            try:
                while file.write(chunk):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def records(root: Path) -> dict[str, str]:
    """Return what was recorded as finished, word by word."""
    folder = root / "runs"
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.json")} if folder.exists() else {}


if __name__ == "__main__":
    main()
