"""Whether a file would fit a target: its size and its activations against the memory, its operators against the runtime.

Nothing is run for it: sizes are exact, the peak of activations is estimated by liveness (`checks.footprint`), and what an
operator costs off the fast path is told by its share of multiply-accumulates, not by time. A "fits" therefore means that
nothing speaks against it; `edgepress bench` measures.
"""

import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.checks.examine import Examined, examine
from pipeline.checks.finding import Finding, explained, worst_first
from pipeline.checks.footprint import macs, peak_activation_bytes
from pipeline.checks.lints import placement
from pipeline.checks.subject import subject_of
from targets import NOT_PUBLISHED, Fact, Target
from targets.summary import measured_with, size

KIB = 1024
PLACEMENT = frozenset({"wrong-format", "unsupported-op", "custom-op", "flex-op", "falls-back"})
"""Findings about where operators run; the rest is `edgepress check`'s."""
SPECS = {"ssh": "ssh://user@board"}


@dataclass(frozen=True)
class Line:
    """One need against what a target has, in bytes; None where it isn't known, or not published."""

    what: str
    label: Literal["exact", "estimated"]
    needs: int | None
    where: str
    has: int | None

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where one of both isn't known."""
        return None if self.needs is None or self.has is None else self.needs <= self.has


@dataclass(frozen=True)
class Forecast:
    """What speaks for and against a file on a target; `operators` are those off the fast path, or that it can't run."""

    model: str
    target: str
    macs: int | None
    lines: tuple[Line, ...]
    operators: tuple[Finding, ...]
    measured_with: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether nothing that is known speaks against it."""
        broken = any(finding.severity == "error" for finding in self.operators)
        return not broken and all(line.fits is not False for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return the forecast as JSON takes it, with the verdicts."""
        lines = [asdict(line) | {"fits": line.fits} for line in self.lines]
        return asdict(self) | {"lines": lines, "fits": self.fits}


def forecast(model: Path, target: Target) -> Forecast:
    """Forecast a file on a target; ModelError when it is neither ONNX nor TFLite, or can't be read within limits."""
    examined = examine(model)
    subject = subject_of(examined, target, None)
    found = [explained(finding) for finding in placement.find(subject) if finding.code in PLACEMENT]
    return Forecast(
        model=model.name.encode("utf-8", "backslashreplace").decode(),
        target=target.name,
        macs=macs(examined.sized),
        lines=tuple(_lines(examined, target)),
        operators=tuple(worst_first(found)),
        measured_with=measured_with(target),
    )


def _lines(examined: Examined, target: Target) -> Iterator[Line]:
    stored, peak = examined.graph.stored_bytes, peak_activation_bytes(examined.sized)
    memory, accelerator = target.memory, target.accelerator
    if target.kind != "microcontroller":
        both = None if peak is None else stored + peak
        yield Line("weights and activations", "estimated", both, "RAM, beside the system", _bytes(memory.ram_kib))
        return
    yield Line("file", "exact", stored, "flash, beside the program", _bytes(memory.flash_kib))
    block = memory.ram_block_kib or memory.ram_kib
    yield Line("activations", "estimated", peak, "largest block of RAM", _bytes(block))
    if accelerator and accelerator.sram_kib:
        yield Line("activations", "estimated", peak, f"SRAM of the {accelerator.name}", _bytes(accelerator.sram_kib))


def _bytes(kib: Fact[int] | None) -> int | None:
    return None if kib is None else kib.value * KIB


def to_text(found: Forecast, *, model: Path, target: str) -> str:
    """Return a forecast as lines for a terminal; the last names model and target as the caller did."""
    lines = [f"{found.model} on {found.target}: {'fits, as far as is known' if found.fits else 'does not fit'}"]
    lines += [f"  {line.what:<24} {line.label:<10} {_need(line)}" for line in found.lines]
    if found.macs is not None:
        lines.append(f"  {'multiply-accumulates':<24} {'exact':<10} {found.macs:>10,}")
    lines += [f"  {finding.code:<24} {finding.severity:<10} {finding.message}" for finding in found.operators]
    if ways := " or ".join(SPECS.get(way, way) for way in found.measured_with):
        command = shlex.join(["edgepress", "bench", str(model), "--target", target])
        lines.append(f"nothing was run; to measure: {command} --device {ways}")
    return "\n".join(lines)


def _need(line: Line) -> str:
    needs = "not known" if line.needs is None else _words(line.needs)
    has = "?" if line.has is None else _words(line.has)
    verdict = {True: "", False: ": too much", None: f": {NOT_PUBLISHED}" if line.has is None else ""}[line.fits]
    return f"{needs:>10} of {has} ({line.where}){verdict}"


def _words(count: int) -> str:
    return f"{count} B" if count < KIB else size(count / KIB)
