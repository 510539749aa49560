"""Throw mutated inputs at every parser: each must be read, or refused by an EdgepressError of one line, within a second or so.

    python -m tests.evidence.trust.fuzz --cases 1000000 [--seed 0] [--workers 2] [--out results.json]
    python -m tests.evidence.trust.fuzz --sandboxed 10000                     # models through the bounded process that opens them

Cases are drawn from (seed, parser, number) alone, so that each can be made again: `--parser NAME --first NUMBER --cases 1`. What comes out otherwise than allowed is
told with the input that did it, cut to its first bytes; the exit code is 1 then.
"""

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checks.judgement import judge_file
from pipeline.errors import EdgepressError
from tests.evidence.trust.parsers import Parser, parsers
from tests.pipeline.checks.fuzz_worker import mutated

HANG_SECONDS = 10
SANDBOX_SECONDS = 150
"""The bounded process has a limit of its own, two minutes."""
TOLD_BYTES = 400
FOLDER = "EDGEPRESS_FUZZ_FOLDER"
MODELS = ("onnx", "tflite")
WORD = re.compile(rb'"[^"\n]*"|[A-Za-z_][\w.-]*|-?\d[\w.+-]*')
HOSTILE = (
    *(b"NaN", b"Infinity", b"-Infinity", b"nan", b"inf", b"1e999", b"-1", b"0", b"1e-320", b"9" * 400, b"9" * 5000),
    *(b"null", b"true", b"[]", b"{}", b'""', b"[" * 3000, b'{"a":' * 3000, b"[[" * 20000, b'"\\ud800"', b'"\\u0000"'),
    *(b'"../../../../etc/passwd"', b'"/etc/passwd"', b'"con"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"'''"),
    *(b'"%n%s%n"', b'"{0.__class__}"', b'"$(id)"', b'"' + b"A" * 70000 + b'"', b"1979-05-27T07:32:00Z", b"0x7fffffff"),
)


@dataclass
class Found:
    """What came of the cases of one parser."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    slowest_seconds: float = 0.0


class Hang(BaseException):
    """A parser took too long; no parser may catch it."""


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=0)
    parser.add_argument("--sandboxed", type=int, default=0)
    parser.add_argument("--parser", default="")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    started = time.monotonic()
    found = spread(asked)
    result = {"seed": asked.seed, "seconds": round(time.monotonic() - started), **summary(found)}
    text = json.dumps(result, indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(1 if result["wrong"] else 0)


def spread(asked: argparse.Namespace) -> dict[str, Found]:
    """Share the parsers' cases among workers."""
    with tempfile.TemporaryDirectory() as folder:
        names = [asked.parser] if asked.parser else list(parsers(Path(folder)))
    names = [name for name in names if name in MODELS] if asked.sandboxed else names
    cases = (asked.sandboxed or asked.cases) // len(names)
    size = max(1, min(2000, cases // asked.workers))
    jobs = [
        (name, asked.seed, asked.first + first, min(size, cases - first), bool(asked.sandboxed))
        for first in range(0, cases, size)
        for name in names
    ]
    totals: dict[str, Found] = {name: Found() for name in names}
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        os.environ[FOLDER] = folder
        with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
            gather(pool.imap_unordered(_job, jobs), totals, len(jobs))
    return totals


def gather(parts: Iterable[tuple[str, Found]], totals: dict[str, Found], count: int) -> None:
    """Add the workers' parts to the totals, and tell how far it is."""
    for done, (name, part) in enumerate(parts, 1):
        total = totals[name]
        total.outcomes += part.outcomes
        total.wrong += part.wrong
        total.slowest_seconds = max(total.slowest_seconds, part.slowest_seconds)
        if done % 50 == 0:
            print(f"{done} of {count} parts", file=sys.stderr, flush=True)


def summary(found: dict[str, Found]) -> dict[str, Any]:
    """Return the counts of all parsers and of each."""
    return {
        "cases": sum(sum(each.outcomes.values()) for each in found.values()),
        "wrong": [{"parser": name, **case} for name, each in found.items() for case in each.wrong],
        "parsers": {
            name: {**each.outcomes, "slowest_seconds": round(each.slowest_seconds, 3)} for name, each in found.items()
        },
    }


def _job(job: tuple[str, int, int, int, bool]) -> tuple[str, Found]:
    name, seed, first, count, sandboxed = job
    folder = own_folder()
    known = known_parsers(folder)[name]
    if sandboxed:
        known = Parser(through_the_process(folder / "model"), known.seeds)
    return name, throw(known, seed, first, count, limit_s=SANDBOX_SECONDS if sandboxed else HANG_SECONDS)


@cache
def own_folder() -> Path:
    """Return a worker's folder, in memory; the pool's end takes it away."""
    return Path(tempfile.mkdtemp(dir=os.environ[FOLDER]))


@cache
def known_parsers(folder: Path) -> dict[str, Parser]:
    """Return the parsers, made once a worker."""
    return parsers(folder)


def through_the_process(path: Path) -> Any:
    """Return a parser that judges a model as `check` does: in a bounded process that also opens it in its runtime."""

    def read(content: bytes) -> str:
        path.write_bytes(content)
        return f"judged {judge_file(path).format}"

    return read


def throw(parser: Parser, seed: int, first: int, count: int, *, limit_s: int) -> Found:
    """Give a parser so many mutated inputs."""
    found = Found()
    warnings.simplefilter("ignore")
    for number in range(first, first + count):
        content = case(parser, seed, number)
        started = time.perf_counter()
        outcome = judged(parser, content, limit_s)
        found.slowest_seconds = max(found.slowest_seconds, time.perf_counter() - started)
        found.outcomes[outcome.splitlines()[0] if outcome in ("read", "refused") else "wrong"] += 1
        if outcome not in ("read", "refused"):
            found.wrong.append({"number": number, "outcome": outcome, "input": repr(content[:TOLD_BYTES])})
    return found


def case(parser: Parser, seed: int, number: int) -> bytes:
    """Return an input: a sound one whose words are exchanged, or whose bytes are broken."""
    random = np.random.default_rng((seed, number))
    content = parser.seeds[number % len(parser.seeds)]
    if number % 2 or not (words := list(WORD.finditer(content))):
        return mutated(content, random)
    for _ in range(int(random.integers(1, 4))):
        word = words[int(random.integers(len(words)))]
        token = HOSTILE[int(random.integers(len(HOSTILE)))] if random.random() < 0.7 else words[0].group()
        content = content[: word.start()] + token + content[word.end() :]
    return content


def judged(parser: Parser, content: bytes, limit_s: int) -> str:
    """Return "read", "refused", or what else happened."""
    try:
        with limited(limit_s):
            parser.read(content)
    except EdgepressError as error:
        return "refused" if "\n" not in str(error) else f"refused in more than a line: {error}"
    except Hang:
        return f"hang: no answer after {limit_s} s"
    except Exception:  # noqa: BLE001 - whatever else comes is what we look for
        return traceback.format_exc(limit=-4)
    return "read"


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise Hang after so many seconds."""

    def stop(_number: int, _frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main()
