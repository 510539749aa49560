"""A finding, and what a file was promised to be."""

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.checks.codes import CODES

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")
MAX_WHERE = 200


@dataclass(frozen=True)
class Promises:
    """What a file was made to be; None where nothing was promised.

    `int8`: "all" operators, "some" (the user left layers in float: findings become warnings), or "none".
    """

    int8: Literal["all", "some", "none"] = "none"
    input_type: str | None = None
    output_type: str | None = None
    dynamic_batch: bool | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, `where` (the operator or the tensor), `why` it matters, and how to `fix` it.

    Errors break a promise, or the file on its target; warnings cost something; notes only inform.
    """

    code: str
    severity: Severity
    message: str
    where: str
    why: str = ""
    fix: str = ""


def explained(finding: Finding) -> Finding:
    """Return a finding with its code's reason and remedy where it has none of its own, and a place that fits a line."""
    code = CODES[finding.code]
    where = finding.where if len(finding.where) <= MAX_WHERE else finding.where[: MAX_WHERE - 1] + "…"
    return replace(finding, where=where, why=finding.why or code.why, fix=finding.fix or code.fix)


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return findings by severity, each in the order in which they were found."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def named(name: str) -> str:
    """Return a name as a message shows it: quoted, its control characters escaped, short."""
    return repr(name if len(name) <= 60 else name[:59] + "…")
