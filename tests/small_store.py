"""Stores for tests: small results, writers of their own process, and time that passes at once."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.artifact import Artifact
from pipeline.store import Store

ROOT = Path(__file__).parents[1]
WRITER = """
import sys
from pathlib import Path
from pipeline.store import Store
store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 100_000):
    key = f"{number:064x}"
    with store.in_use(), store.locked(key), store.draft() as out:
        (out / "costs.json").write_bytes(str(number // 2).encode() * 20_000)  # two keys share each object
        store.commit(out, "costs", {}, {"key": key, "parts": {}, "seconds": 0.0, "circumstances": {}})
    print(key, flush=True)
"""


def commit(store: Store, key: str, content: str = "{}") -> Artifact:
    with store.locked(key), store.draft() as out:
        (out / "costs.json").write_text(content, encoding="utf-8")
        record = {"key": key, "parts": {"stage": "costs"}, "seconds": 1.5, "circumstances": {"machine": "test"}}
        return store.commit(out, "costs", {"layers": 1}, record)


def age(path: Path, days: float) -> None:
    """Make a path, and what is in it, look as if nobody had touched it for so long."""
    then = time.time() - days * 86400
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start a Python process of its own, and end it whatever happens."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
