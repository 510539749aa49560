"""What a person sees while a recipe runs: one line a finished step, and how far the step is that runs now.

A terminal has a live line (rich), a notebook one that changes in place. A log file, a pipe and a terminal that can't move its cursor
(TERM=dumb) get a plain line every half minute, without a single control character. Rates and times left are of the last half minute, so
that a run which continues is not taken for a fast one.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from pipeline.errors import StoppedError
from pipeline.plan import Step
from pipeline.run import Done
from pipeline.stage import Progress

LOG_SECONDS = 30
NOTEBOOK_SECONDS = 0.5
PACE_SECONDS = 30
SHORTEST_BAR, LONGEST_BAR = 4, 16


@dataclass
class Now:
    """The step that runs: what it said last, and how fast it went lately."""

    name: str
    began: float
    progress: Progress
    seen: deque[tuple[float, int, int]] = field(default_factory=deque)

    def take(self, progress: Progress, now: float) -> None:
        """Take what the step says at a moment."""
        if progress.total != self.progress.total or (self.seen and progress.done < self.seen[-1][1]):
            self.seen.clear()  # another part of the step, or a training that goes on in its middle
        self.progress = progress
        self.seen.append((now, progress.done, progress.samples))
        while now - self.seen[0][0] > PACE_SECONDS and len(self.seen) > 2:
            self.seen.popleft()

    def facts(self, now: float) -> list[str]:
        """Return what there is to say: epoch, loss, score, samples a second, time gone and left."""
        says = dict(self.progress.says)
        told = (
            [f"epoch {says.pop('epoch'):.0f} of {says.pop('epochs'):.0f}"] if {"epoch", "epochs"} <= set(says) else []
        )
        if says.get("best") == says.get("score"):
            says.pop("best", None)
        told += [f"{name} {value:.4g}" for name, value in says.items()]
        (first, done_first, samples_first), (last, done_last, samples_last) = self.seen[0], self.seen[-1]
        seconds = last - first
        if seconds > 0 and done_last > done_first:
            left = (self.progress.total - done_last) * seconds / (done_last - done_first) - (now - last)
            told.append(f"{clock(max(0.0, left))} left")
        if seconds > 0 and samples_last > samples_first:
            told.append(f"{(samples_last - samples_first) / seconds:,.0f} samples/s")
        return [*told, f"{clock(now - self.began)} so far"]

    def line(self, now: float) -> str:
        """Return one plain line."""
        return f"{self.name}: {', '.join([*self.share(), *self.facts(now)])}"

    def share(self) -> list[str]:
        """Return how much is done, where a step has parts to count."""
        return [f"{self.progress.done / self.progress.total:.0%}"] if self.progress.total > 1 else []


class Surface(Protocol):
    """Where it is shown."""

    def open(self, watcher: "Watcher") -> AbstractContextManager[Any]:
        """Give the block for whose length it shows what a watcher sees."""

    def show(self, now: Now | None) -> None:
        """Take that something changed; None when no step runs."""

    def print(self, text: str) -> None:
        """Print a line that stays."""


class Watcher:
    """Shows how a run goes on a surface."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self.now: Now | None = None

    def watch(self, step: Step, progress: Progress) -> None:
        """Show how far a step is."""
        moment = time.monotonic()
        now = self.now if self.now and self.now.name == step.name else Now(step.name, moment, progress)
        now.take(progress, moment)
        self.now = now  # whole before the live line's thread sees it
        self.surface.show(now)

    def done(self, done: Done) -> None:
        """Print one line for a finished step."""
        how = "cached" if done.cached else f"{done.record.seconds:.1f} s"
        score = done.artifact.facts.get("validation_score")
        trained = done.artifact.kind in {"network", "quantized"} and isinstance(score, float)
        scored = f"  score {score:.4f}" if trained else ""
        self.say(f"{done.step.name:<32} {how:>9}  {done.artifact.digest[:12]}{scored}")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        self.now = None
        self.surface.show(None)
        self.surface.print(text)

    def where(self) -> str:
        """Return where it is, for a run that is stopped."""
        if self.now is None:
            return "interrupted"
        says: Mapping[str, float] = self.now.progress.says
        epoch = f", epoch {says['epoch']:.0f} of {says['epochs']:.0f}" if {"epoch", "epochs"} <= set(says) else ""
        return f"interrupted in {self.now.name}{epoch}"


class Log:
    """A log file or a pipe: whole lines, now and then."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.told = time.monotonic()

    def open(self, watcher: Watcher) -> AbstractContextManager[Any]:
        """Show what is given to it, no more."""
        return nullcontext(watcher)

    def show(self, now: Now | None) -> None:
        """Print a line when the last one is old."""
        if now is not None and time.monotonic() - self.told >= LOG_SECONDS:
            self.print(now.line(time.monotonic()))

    def print(self, text: str) -> None:
        """Print a line, at once."""
        self.told = time.monotonic()
        print(text, file=self.stream, flush=True)


class Terminal:
    """A terminal: a live line that is drawn anew a few times a second."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def open(self, watcher: Watcher) -> AbstractContextManager[Any]:
        """Draw the line until the block ends, and take it away."""
        return Live(
            get_renderable=lambda: _drawn(watcher.now, self.console),
            console=self.console,
            refresh_per_second=8,
            transient=True,
        )

    def show(self, now: Now | None) -> None:
        """Leave it to the next drawing."""

    def print(self, text: str) -> None:
        """Print a line above the live one."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class Notebook:
    """A notebook's output: plain lines, and one that changes in place."""

    def __init__(self) -> None:
        self.line: Any = None
        self.told = 0.0

    def open(self, watcher: Watcher) -> AbstractContextManager[Any]:
        """Show what is given to it, no more."""
        return nullcontext(watcher)

    def show(self, now: Now | None) -> None:
        """Change the line, not too often; a finished step's is emptied."""
        from IPython.display import Pretty, display  # noqa: PLC0415 - there in a notebook, and only there

        text = now.line(time.monotonic()) if now else ""
        if self.line is None:
            self.line = display(Pretty(text), display_id=True) if text else None
        elif now is None or time.monotonic() - self.told >= NOTEBOOK_SECONDS:
            self.told = time.monotonic()
            self.line.update(Pretty(text))
            self.line = self.line if now else None

    def print(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)  # noqa: T201 - the cell's own output


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: 0:07, 2:10, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def surface() -> Surface:
    """Return the best that stderr, or a notebook, can show."""
    if in_notebook():
        return Notebook()
    if sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in {"", "dumb", "unknown"}:
        return Terminal(Console(file=sys.stderr))
    return Log(sys.stderr)


def in_notebook() -> bool:
    """Say whether this process is a notebook's kernel; asks nothing to be imported."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def showing() -> Iterator[Watcher]:
    """Show a run's progress until the block ends: on stderr, so that stdout holds nothing but the result."""
    watcher = Watcher(surface())
    with watcher.surface.open(watcher):
        yield watcher


@contextmanager
def watching() -> Iterator[Watcher]:
    """Show a run's progress as `showing` does; Ctrl-C becomes a StoppedError that says where it was."""
    with showing() as watcher:
        try:
            yield watcher
        except KeyboardInterrupt as stop:
            raise StoppedError(f"{watcher.where()}; the same command goes on from there") from stop


def _drawn(now: Now | None, console: Console) -> RenderableType:
    """Return the live line: name, share, facts, the first the most needed, and a bar where there is room for one."""
    if now is None:
        return Text()
    words = [now.name, *now.share(), ", ".join(now.facts(time.monotonic()))]
    room = console.width - len("  ".join(words)) - 2
    line = Text("  ".join(words), no_wrap=True, overflow="ellipsis")
    if now.progress.total > 1 and room >= SHORTEST_BAR and console.encoding.startswith("utf"):
        line.append_text(_bar(now.progress, min(room, LONGEST_BAR)))
    return line


def _bar(progress: Progress, cells: int) -> Text:
    full = round(cells * progress.done / progress.total)
    return Text.assemble("  ", ("━" * full, "green"), ("━" * (cells - full), "bright_black"))
