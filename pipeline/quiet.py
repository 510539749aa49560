"""Quiet: run a converter, or copy a traced graph, without its noise; a converter's is kept for the error it may end in.

The converters print progress, warnings and C++ log lines on file descriptors 1 and 2; Python's own redirection does not
reach those, so the descriptors themselves point to a temporary file for the time of the call, beside it. In a notebook they
display their progress instead; that is dropped.
"""

import copy
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import IO, Any, TypeVar, cast

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
    with (
        _nothing_displayed(),
        tempfile.TemporaryFile() as sink,
        warnings.catch_warnings(),
        redirect_stdout(unread),
        redirect_stderr(unread),
    ):
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


def _nothing_displayed() -> AbstractContextManager[Any]:
    if "IPython" not in sys.modules:
        return nullcontext()
    from IPython.utils.capture import capture_output  # noqa: PLC0415 - there in a notebook, and only there

    return cast("AbstractContextManager[Any]", capture_output(stdout=False, stderr=False, display=True))


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
