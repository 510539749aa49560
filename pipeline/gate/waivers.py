"""Waivers: a committed file that excuses findings, each for a reason and, if one likes, until a date.

    [[waive]]
    code = "float-op"                      # a code of `edgepress check --explain`
    where = "head/*"                       # the layer, tensor or budget line; a glob, or the exact name; default: any
    model = "build/*/model.tflite"         # the file as the report names it; a glob; default: any
    target = "pixel-8"                     # default: any
    reason = "softmax stays in float until the runtime has its integer form"
    until = 2027-01-31                     # the last day on which it holds; default: for ever

After trivy's .trivyignore.yaml (paths, statement, expired_at: https://trivy.dev/latest/docs/configuration/filtering/) and
ruff's noqa, which reports what excuses nothing. Codes of the waivers themselves can't be waived.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.checks.finding import Finding
from pipeline.errors import RecipeError, did_you_mean, root_cause
from pipeline.gate.codes import GATE_CODES, found, known_codes
from pipeline.gate.verdict import Check, Report, Waived

MAX_WAIVERS_BYTES, MAX_LINE_BYTES = 2**18, 2**12
"""Some thousand waivers; the time that tomllib takes grows with the square of a line's length."""


class Waiver(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    code: str
    reason: str = Field(min_length=1, pattern=r"\S")
    where: str = "*"
    model: str = "*"
    target: str | None = None
    until: date | None = None

    def concerns(self, check: Check) -> bool:
        """Whether it speaks of this file and this target at all."""
        return _fits(check.model, self.model) and self.target in (None, check.target)

    def fits(self, check: Check, finding: Finding) -> bool:
        """Whether it speaks of this finding."""
        return self.code == finding.code and _fits(finding.where, self.where) and self.concerns(check)

    def expired(self, today: date) -> bool:
        """Whether its last day has passed."""
        return self.until is not None and today > self.until


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    waive: tuple[Waiver, ...] = ()


@dataclass(frozen=True)
class Waivers:
    """A file of waivers, in its order."""

    path: Path
    waivers: tuple[Waiver, ...]


def read_waivers(path: Path) -> Waivers:
    """Read a file of waivers; RecipeError when it isn't one."""
    content = read_toml(path, "waivers", MAX_WAIVERS_BYTES)
    rows = content.get("waive")
    tables = tuple(rows) if isinstance(rows, list) else ()
    try:
        # A tuple by hand: strict validation takes no list for one.
        file = _File.model_validate(content | {"waive": tables} if tables else content)
    except ValidationError as error:
        inside = {f"waive.{number}": Waiver.model_fields for number in range(len(tables))}
        cause = root_cause(error, {"waive"}, inside=inside)
        raise RecipeError(f"{path}: {cause}") from error
    known = set(known_codes()) - {code for code in GATE_CODES if code.startswith("waiver-")}
    for number, waiver in enumerate(file.waive, 1):
        if waiver.code not in known:
            raise RecipeError(
                f"{path}: waiver {number} has no known code: {waiver.code!r:.60}{did_you_mean(waiver.code, known)}"
            )
    return Waivers(path, file.waive)


def read_toml(path: Path, what: str, most_bytes: int) -> dict[str, object]:
    """Return what a TOML file of ours holds; RecipeError when it can't be read, is too large, or is no TOML."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise RecipeError(
            f"can't read {what} {str(path)!r:.200} ({getattr(error, 'strerror', error)}); give a .toml file"
        ) from error
    if len(content) > most_bytes or any(len(line) > MAX_LINE_BYTES for line in content.splitlines()):
        raise RecipeError(
            f"{what} {path} is larger than {most_bytes} bytes, or has a line above {MAX_LINE_BYTES}; give a .toml file"
        )
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{what} {path} is no TOML: {str(error)[:200]}") from error


def apply(waivers: Waivers, report: Report, *, today: date) -> Report:
    """Move what is waived out of each check's findings, and say which waivers have expired or excuse nothing."""
    checks = tuple(_excused(check, waivers.waivers, today) for check in report.checks)
    return replace(
        report, checks=checks, findings=_about(waivers, report.checks, today), waivers_file=waivers.path.as_posix()
    )


def _excused(check: Check, waivers: Sequence[Waiver], today: date) -> Check:
    standing: list[Finding] = []
    waived: list[Waived] = []
    for finding in check.findings:
        excuse = next((each for each in waivers if not each.expired(today) and each.fits(check, finding)), None)
        if excuse is None:
            standing.append(finding)
        else:
            waived.append(Waived(finding, excuse.reason, excuse.until))
    return replace(check, findings=tuple(standing), waived=tuple(waived))


def _about(waivers: Waivers, checks: Sequence[Check], today: date) -> tuple[Finding, ...]:
    """Return what is wrong with the waivers themselves; one that speaks of no file of this run is left alone."""
    valid = [waiver for waiver in waivers.waivers if not waiver.expired(today)]
    findings = []
    for number, waiver in enumerate(waivers.waivers, 1):
        fitting = [(check, finding) for check in checks for finding in check.findings if waiver.fits(check, finding)]
        told = f"waiver {number}, {waiver.code} at {waiver.where!r}"
        if not fitting and any(waiver.concerns(check) for check in checks):
            ended = f"; it ended on {waiver.until}" if waiver.expired(today) else ""
            message = f"{told}, excuses nothing{ended}"
            findings.append(found("waiver-unused", message, severity="note", where=f"waive {number}"))
        elif waiver.expired(today) and any(not any(each.fits(*one) for each in valid) for one in fitting):
            message = f"{told}, ended on {waiver.until}; its reason was: {waiver.reason}"
            findings.append(found("waiver-expired", message, severity="error", where=f"waive {number}"))
    return tuple(findings)


def _fits(text: str, pattern: str) -> bool:
    # The exact name too: layers' names hold brackets, which a glob reads as a set of letters.
    return text == pattern or fnmatchcase(text, pattern)
