"""What the gate says of a file: findings, budget lines, changes since the baseline, and whether it passes.

Whatever is wrong is a finding, a missed budget line too: so every view, and every waiver, handles one kind of thing.
A check passes when no finding that isn't waived is an error; `strict` lets warnings fail it as well, and a budget line
that isn't shown is a warning.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from devices import Measurement
from pipeline.checks.finding import Finding, Severity

Outcome = Literal["kept", "missed", "not_shown"]
Direction = Literal["worse", "better", "changed", "not comparable"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Line:
    """One budget line, judged: `low` and `high` bound the value where it is uncertain, `why` says where it comes from."""

    budget: str
    limit: float
    value: float | None
    low: float | None
    high: float | None
    label: str | None
    outcome: Outcome
    why: str


@dataclass(frozen=True)
class Change:
    """One thing that isn't as the baseline says; `told` is for people: "25.8 -> 31.2 KiB, +20.9 %"."""

    what: str
    old: Any
    new: Any
    direction: Direction
    told: str


@dataclass(frozen=True)
class OutputAgreement:
    """How far one output agrees with the reference's; `argmax_agreement` is None where there is no one choice a sample.

    `explained` is the share of the reference's variance that the file explains (None where it has none); `classes` says
    that the reference's are shares that add up to one. An LSB is the output's scale, or 1/255 of the reference's range.
    """

    name: str
    equal: float
    within_1_lsb: float
    within_2_lsb: float
    max_lsb: float
    argmax_agreement: float | None
    explained: float | None
    classes: bool


@dataclass(frozen=True)
class Accuracy:
    """Shares of labels met by the file and by its reference; `drop` is the reference's minus the file's, 95 % interval."""

    value: float
    reference: float
    drop: float
    drop_low: float
    drop_high: float


@dataclass(frozen=True)
class Agreement:
    """How far a file agrees with a reference on given samples; `samples_sha256` names the samples."""

    reference: str
    samples: int
    samples_sha256: str
    outputs: tuple[OutputAgreement, ...]
    accuracy: Accuracy | None


@dataclass(frozen=True)
class Waived:
    """A finding that somebody has excused."""

    finding: Finding
    reason: str
    until: date | None


@dataclass(frozen=True)
class Check:
    """What was found of one file, for one target or for none; findings stand worst first."""

    model: str
    format: str
    sha256: str
    target: str | None
    findings: tuple[Finding, ...] = ()
    waived: tuple[Waived, ...] = ()
    budget: tuple[Line, ...] = ()
    changes: tuple[Change, ...] = ()
    agreement: Agreement | None = None
    measurements: tuple[Measurement, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The file and what it is judged for."""
        return f"{self.model} for {self.target}" if self.target else self.model


@dataclass(frozen=True)
class Report:
    """All checks of a run; `findings` are about the waivers in `waivers_file` and belong to no model."""

    checks: tuple[Check, ...]
    findings: tuple[Finding, ...] = ()
    waivers_file: str = ""
    baseline_file: str = ""
    baseline_written: bool = False
    strict: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing fails the run."""
        return not any(self.fails(finding) for _, finding in self.standing())

    def fails(self, finding: Finding) -> bool:
        """Whether a finding that isn't waived fails the run."""
        return finding.severity == "error" or (self.strict and finding.severity == "warning")

    def check_passed(self, check: Check) -> bool:
        """Whether one file passes."""
        return not any(self.fails(finding) for finding in check.findings)

    def standing(self) -> Iterator[tuple[Check | None, Finding]]:
        """Yield every finding that isn't waived with its check; None for what is about the waivers."""
        for check in self.checks:
            yield from ((check, finding) for finding in check.findings)
        yield from ((None, finding) for finding in self.findings)

    def count(self, severity: Severity) -> int:
        """Return how many findings of a severity stand."""
        return sum(finding.severity == severity for _, finding in self.standing())


def titled(finding: Finding) -> str:
    """Return a finding's code and place; the place is left out where the message begins with it."""
    if not finding.where or finding.message.startswith(f"{finding.where}: "):
        return finding.code
    return f"{finding.code} at {finding.where}"


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, else in their order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
