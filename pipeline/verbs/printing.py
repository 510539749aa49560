"""How verbs print: tables as wide as the terminal, and where there is none, wide enough to stay whole; JSON alone on stdout."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.report.model import Report

LOG_WIDTH = 180
"""Characters a line where no terminal says how many it has."""


def console(log_width: int = LOG_WIDTH) -> "Console":
    """Return a console for stdout."""
    from rich.console import Console  # noqa: PLC0415 - only a table needs it

    return Console() if sys.stdout.isatty() else Console(width=log_width)


@contextmanager
def stdout_kept(*, for_json: bool) -> Iterator[None]:
    """While a verb works, send what a user's task prints, or a process of its own, to stderr where stdout is for a JSON document."""
    if not for_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_reports(reports: Iterable["Report"]) -> None:
    """Print each report's tables."""
    from pipeline.report.text import print_report  # noqa: PLC0415 - with torch

    stdout = console()
    for report in reports:
        print_report(report, stdout)
