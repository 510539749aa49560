"""What a person sees while a recipe runs: one line a finished step, and a live line with the time left while one trains.

In a terminal the live line moves (rich); a log file gets a plain line every half minute instead.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.plan import Step
from pipeline.run import Done
from pipeline.stage import Progress as StageProgress

LOG_SECONDS = 30


class Watcher:
    """Shows how a run goes, on stderr, so that stdout holds nothing but the result."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[says]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.current: tuple[str, TaskID] | None = None
        self.logged = time.monotonic()

    def watch(self, step: Step, progress: StageProgress) -> None:
        """Show how far a step is."""
        says = " ".join(f"{name} {value:.4g}" for name, value in progress.says.items())
        if self.current is None or self.current[0] != step.name:
            self._clear()
            self.current = (step.name, self.live.add_task(step.name, total=progress.total, says=says))
        self.live.update(self.current[1], completed=progress.done, total=progress.total, says=says)
        if not self.console.is_terminal and time.monotonic() - self.logged >= LOG_SECONDS:
            self.logged = time.monotonic()
            self.console.print(
                f"{step.name} {progress.done / progress.total:.0%} {says}", highlight=False, markup=False
            )

    def done(self, done: Done) -> None:
        """Print one line for a finished step."""
        self._clear()
        self.logged = time.monotonic()
        how = "cached" if done.cached else f"{done.record.seconds:.1f} s"
        self.console.print(f"{done.step.name:<32} {how:>9}  {done.artifact.digest[:12]}", highlight=False, markup=False)

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self._clear()
        self.console.print(text, highlight=False, markup=False)

    def _clear(self) -> None:
        if self.current is not None:
            self.live.remove_task(self.current[1])
            self.current = None


@contextmanager
def watching() -> Iterator[Watcher]:
    """Show a run's progress on stderr until the block ends."""
    watcher = Watcher(Console(file=sys.stderr, soft_wrap=True))
    with watcher.live:
        yield watcher
