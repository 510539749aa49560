"""Quiet: run a converter, or copy a traced graph, without its noise; a converter's is kept for the error it may end in.

The converters print progress, warnings and C++ log lines on file descriptors 1 and 2; Python's own redirection does not
reach those, so the descriptors themselves point to a temporary file for the time of the call, beside it.
"""

import copy
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, TypeVar

Value = TypeVar("Value")
KEPT_CHARACTERS = 2000


class Noise:
    """What was printed: `text` holds its end once the block is left."""

    text: str = ""


@contextmanager
def quiet() -> Iterator[Noise]:
    """Silence whatever the block prints, logs or warns; the end of what it printed is in the `text` of what it gives."""
    noise = Noise()
    disabled = logging.root.manager.disable
    unread = io.StringIO()
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        kept = _point_at(sink)
        try:
            yield noise
        finally:
            _point_back(kept)
            logging.disable(disabled)
            noise.text = (_end_of(sink) + unread.getvalue())[-KEPT_CHARACTERS:]


def copied(value: Value) -> Value:
    """Return a deep copy of what may hold a traced graph, without the warning that torch's own copying raises."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
        return copy.deepcopy(value)


def _point_at(sink: IO[bytes]) -> list[int]:
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    os.dup2(sink.fileno(), 1)
    os.dup2(sink.fileno(), 2)
    return kept


def _point_back(kept: list[int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor, kept_one in enumerate(kept, start=1):
        os.dup2(kept_one, descriptor)
        os.close(kept_one)


def _end_of(sink: IO[bytes]) -> str:
    size = sink.seek(0, os.SEEK_END)
    sink.seek(max(size - KEPT_CHARACTERS, 0))
    return sink.read().decode("utf-8", errors="replace")
