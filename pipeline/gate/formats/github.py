"""GitHub annotations: one workflow command a finding on stdout, worst first, then the verdict as a plain line.

Escapes: https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts, escapeData and escapeProperty. GitHub
shows ten annotations of a kind a step, so those that fail the run come first.
"""

from pipeline.checks.finding import Finding, Severity
from pipeline.gate.formats.text import summary
from pipeline.gate.verdict import SEVERITIES, Report, titled
from pipeline.plain import plain

COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}


def render(report: Report) -> str:
    """Return workflow commands, one a line."""
    standing = [
        (check.model if check else report.waivers_file, check.target if check else None, finding)
        for check, finding in report.standing()
    ]
    standing.sort(key=lambda row: SEVERITIES.index(row[2].severity))
    lines = [_command(_severity(report, finding), file, target, finding) for file, target, finding in standing]
    return "\n".join([*lines, f"edgepress check {summary(report)}"]) + "\n"


def _severity(report: Report, finding: Finding) -> Severity:
    return "error" if report.fails(finding) else finding.severity


def _command(severity: Severity, file: str, target: str | None, finding: Finding) -> str:
    title = f"{titled(finding)}{f' for {target}' if target else ''}"
    message = f"{plain(finding.message)}\nwhy: {plain(finding.why)}\nfix: {plain(finding.fix)}"
    return f"::{COMMANDS[severity]} file={_property(plain(file))},title={_property(plain(title))}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
