"""Reads and judges mutated model files, one after the other, in the process that it is started as.

    python fuzz_worker.py ROOT FOLDER SEED COUNT

FOLDER holds the sound files. Each mutation is drawn from (SEED, its number): flipped bits, a cut, a length or an offset
overwritten, a piece repeated or zeroed. One line of JSON at the end: how often each outcome came, and the slowest file.
Whatever isn't a Graph or a ModelError ends the process, and the line before it names the mutation.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

CHANCES = (0.05, 0.6, 0.15, 0.1, 0.1)
"""Of a cut, a bit, a length, a repeat, zeros: gentle enough that a third of the files are still read."""
LENGTHS = (0, 1, 127, 128, 255, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Return the content with one to three mutations."""
    broken = bytearray(content)
    for _ in range(random.integers(1, 4)):
        kind, at = random.choice(5, p=CHANCES), int(random.integers(0, max(len(broken), 1)))
        if kind == 0:
            broken = broken[: max(at, 1)]
        elif kind == 1:
            broken[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 2:
            at -= at % 4
            broken[at : at + 4] = int(random.choice(LENGTHS)).to_bytes(4, "little")
        elif kind == 3:
            broken[at:at] = broken[at : at + int(random.integers(1, 256))]
        else:
            length = int(random.integers(1, 32))
            broken[at : at + length] = bytes(len(broken[at : at + length]))
    return bytes(broken)


def outcome(path: Path) -> str:
    """Judge one file without a runtime."""
    from pipeline.checks.examine import Examined
    from pipeline.checks.facts import facts_of
    from pipeline.checks.graph import read_graph, typed
    from pipeline.checks.lints import find_all
    from pipeline.checks.shapes import infer
    from pipeline.checks.subject import subject_of
    from pipeline.checks.view import from_json, to_json
    from pipeline.errors import ModelError

    try:
        graph = from_json(to_json(read_graph(path)))
    except ModelError as error:
        return "refused" if "\n" not in str(error) else "refused in more than a line"
    sized = graph
    if graph.format == "onnx":
        try:
            sized = typed(graph, infer(path.read_bytes()))
        except Exception:  # noqa: BLE001  # onnx's C++ raises classes of its own, as the examiner expects
            sized = graph
    subject = subject_of(Examined(graph, sized, None, None), None, None)
    json.dumps(facts_of(subject), allow_nan=False)
    return f"{graph.format} judged, {'with' if find_all(subject) else 'without'} findings"


def main(root: str, folder: str, seed: str, count: str) -> None:
    sys.path.append(root)
    sound = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model"
        for number in range(int(count)):
            random = np.random.default_rng((int(seed), number))
            path.write_bytes(mutated(sound[number % len(sound)], random))
            print(number, file=sys.stderr, flush=True)
            started = time.process_time()
            outcomes[outcome(path)] += 1
            slowest = max(slowest, time.process_time() - started) if number else 0.0  # the first one imports
    print(json.dumps({"outcomes": outcomes, "slowest_seconds": round(slowest, 3), "peak_mib": peak_mib()}))


def peak_mib() -> int:
    """Return the most memory that this program held; getrusage counts what its parent held before the exec."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
