"""Kill whole runs at random moments, any process of them, and compare what they end with to a run in peace.

`python -m tests.evidence.trust.kills [--runs 10] [--kills 20] [--seed 0] [--out results.json]`

Each run is the command line in a store of its own. At a random moment SIGKILL goes to one of its processes: the command, a process of its training
(`devices=2`), a worker of Ray (`--workers 2`), a child that loads a file. The same command then goes on. After each kill the store is read
whole, and no process of the run may be left; at the end the digests of all steps and the bytes of both files must be those of the run in peace.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.evidence.trust import whole_runs

EPOCHS = 40
KINDS: dict[str, tuple[str, ...]] = {
    "alone": (),
    "two processes train": ("--set", "teach.devices=2", "--set", "distill.devices=2"),
    "two workers": ("--workers", "2"),
}
SHARE = ("alone", "alone", "alone", "two processes train", "two workers")
LONGEST_S = 900
WRONG = ("corrupt", "different", "left", "tracebacks", "hung")
LEFT_S = 60
"""So long the processes of a killed run may take to see that it is gone."""


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for found in study(Path(folder), runs=asked.runs, kills=asked.kills, seed=asked.seed):
            text = json.dumps(found, indent=1) + "\n"
            if asked.out:
                asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(1 if any(found[name] for name in WRONG) else 0)


def study(folder: Path, *, runs: int, kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """Give what `main` prints, after each run anew."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    started = time.monotonic()
    whole_runs.write(folder, epochs=EPOCHS)
    peace = {kind: in_peace(folder, kind) for kind in dict.fromkeys(SHARE[:runs])}
    seconds = {kind: round(each["seconds"], 1) for kind, each in peace.items()}
    told = []
    for run in range(runs):
        told.append(under_fire(folder, f"fire-{run}", SHARE[run % len(SHARE)], peace, kills, chance))
        sums = {name: sum(each[name] for each in told) for name in ("kills", *WRONG)}
        taken = round(time.monotonic() - started)
        yield {"seed": seed, **sums, "seconds": taken, "seconds_in_peace": seconds, "runs": list(told)}


def in_peace(folder: Path, kind: str) -> dict[str, Any]:
    """Run once and return the seconds, and what was made."""
    store, out = folder / f"peace-{kind}", folder / f"out-{kind}"
    started = time.monotonic()
    ended, errors = run(folder, store, out, kind)
    if ended:
        raise SystemExit(f"a run in peace ended with {ended}: {errors[-2000:]}")
    return {"seconds": time.monotonic() - started, "digests": whole_runs.digests(store, out)}


def under_fire(
    folder: Path, name: str, kind: str, peace: dict[str, Any], kills: int, chance: random.Random
) -> dict[str, Any]:
    """Kill a run so many times, let it end, and return what was found wrong, with each kill's victim and moment."""
    store, out = folder / name, folder / f"out-{name}"
    victims: list[dict[str, Any]] = []
    found = {"corrupt": 0, "left": 0, "tracebacks": 0, "hung": 0}
    longest = peace[kind]["seconds"] / 4
    while len(victims) < kills:
        victim, errors = killed(folder, store, out, kind, chance.uniform(0.1, longest), chance)
        found["tracebacks"] += "Traceback" in errors
        if victim is None:
            longest *= 0.9  # it ended before: all is made, and the next moments lie earlier
            continue
        found["hung"] += victim["run_ended_with"] is None
        found["corrupt"] += len(whole_runs.corrupt(store))
        found["left"] += left_over(store)
        victims.append(victim)
    ended, errors = run(folder, store, out, kind)
    if ended:
        raise SystemExit(f"{name} ended with {ended} after its kills: {errors[-2000:]}")
    if whole_runs.half_written(out):
        raise SystemExit(f"{name} left a half-written folder")
    own, known = whole_runs.digests(store, out), peace[kind]["digests"]
    different = [key for key in {*own, *known} if own.get(key) != known.get(key)]
    return {"kind": kind, "kills": len(victims), "different": len(different), **found, "victims": victims}


def run(folder: Path, store: Path, out: Path, kind: str) -> tuple[int, str]:
    """Run to the end and return the exit code with what was told on stderr."""
    ended = subprocess.run(
        whole_runs.command(folder, out, *KINDS[kind]),
        env=whole_runs.environment(store),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    return ended.returncode, ended.stderr


def killed(
    folder: Path, store: Path, out: Path, kind: str, after_s: float, chance: random.Random
) -> tuple[dict[str, Any] | None, str]:
    """Start a run and kill one of its processes; return which, or None where it ended before."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            whole_runs.command(folder, out, *KINDS[kind]),
            env=whole_runs.environment(store),
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
        time.sleep(after_s)
        victim = strike(process, chance)
        code = _ended(process)
        errors.seek(0)
        told = errors.read()
    return victim and {**victim, "after_s": round(after_s, 2), "run_ended_with": code}, told


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Return a run's exit code; None for one that never ends by itself."""
    try:
        return process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def strike(process: subprocess.Popen[bytes], chance: random.Random) -> dict[str, Any] | None:
    """Kill the command or, as often, one of its children; None where all have ended."""
    if process.poll() is not None:
        return None
    children = psutil.Process(process.pid).children(recursive=True)
    chosen = chance.choice(children) if children and chance.random() < 0.5 else psutil.Process(process.pid)
    try:
        name = "the command" if chosen.pid == process.pid else what(chosen)
        chosen.kill()
    except psutil.NoSuchProcess:
        process.kill()
        name = "the command"
    return {"victim": name}


def what(process: psutil.Process) -> str:
    """Return what a child is, by its command line."""
    words = [Path(word).name for word in process.cmdline()[:4] if not word.startswith("-")]
    return " ".join(words)[:60] or process.name()


def left_over(store: Path) -> int:
    """Return how many processes of a killed run are there after a while; end them."""
    until = time.monotonic() + LEFT_S
    while (left := list(of_run(store))) and time.monotonic() < until:
        time.sleep(0.2)
    for process in left:
        process.kill()
    return len(left)


def of_run(store: Path) -> Iterator[psutil.Process]:
    """Give the living processes whose environment names the store."""
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("EDGEPRESS_STORE") == str(store)
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


if __name__ == "__main__":
    main()
