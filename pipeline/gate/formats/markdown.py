"""Markdown for a pull request's comment: a table of files and verdicts, and what is behind each, folded in.

Whatever comes out of a file stands as entities, so that a layer's name can't end a table's cell, open a tag, mention
somebody or become a link. Names stand in <code>, where GitHub looks for no mentions. The first line is an invisible marker
by which a later run finds its own comment. GitHub refuses comments above 65,536 characters, so that long lists end early.
"""

from collections.abc import Iterator, Sequence

from pipeline.checks.finding import Finding
from pipeline.gate.budget import LIMITS, number, told
from pipeline.gate.formats.text import MARKS, summary
from pipeline.gate.verdict import Check, Report
from pipeline.plain import plain

SUFFIX = ".md"
MARKER = "<!-- edgepress check -->"
MOST_FINDINGS, MOST_CHANGES, MOST_CHECKS = 20, 20, 40
MAX_CHARACTERS = 60_000
HARMLESS = " ,.()-'"
BROKEN_UP = {"www.": "www.&#8203;", "&#58;&#47;": "&#58;&#8203;&#47;", "&#64;": "&#64;&#8203;"}
"""Links and mentions are looked for after entities are resolved: a space without width stands in between."""

CUT = "\n\nThe rest is left out: a comment has room for no more. The JSON report has all.\n"


def render(report: Report) -> str:
    """Return the report as Markdown."""
    mark = "✅" if report.passed else "❌"
    parts = [MARKER, f"### {mark} edgepress check {_text(summary(report))}", _overview(report)]
    parts += ["\n\n".join(_details(report, check)) for check in report.checks[:MOST_CHECKS]]
    if report.findings:
        parts += [f"**{_code(report.waivers_file)}**", _findings(report.findings)]
    if report.baseline_written:
        parts.append(f"The baseline {_code(report.baseline_file)} was written; commit it.")
    text = ""
    for part in parts:
        if len(text) + len(part) > MAX_CHARACTERS:
            return text + CUT
        text += f"{part}\n\n"
    return text


def _overview(report: Report) -> str:
    rows = [
        (
            _code(check.model),
            _code(check.target) if check.target else "",
            "passed" if report.check_passed(check) else "**failed**",
            f"{check.facts['size_bytes'] / 1024:.1f} KiB",
            *(
                str(sum(finding.severity == severity for finding in check.findings))
                for severity in ("error", "warning")
            ),
            str(len(check.waived)),
        )
        for check in report.checks
    ]
    return _table(("file", "target", "verdict", "size", "errors", "warnings", "waived"), rows)


def _details(report: Report, check: Check) -> Iterator[str]:
    blocks = list(_blocks(check))
    if blocks:
        opened = "" if report.check_passed(check) else " open"
        yield f"<details{opened}><summary>{_code(check.title)}</summary>"
        yield from blocks
        yield "</details>"


def _blocks(check: Check) -> Iterator[str]:
    if check.findings:
        yield _findings(check.findings)
    if check.budget:
        rows = [
            (line.budget, _limit(line.budget, line.limit), MARKS[line.outcome], _text(told(line)))
            for line in check.budget
        ]
        yield _table(("budget", "limit", "verdict", "why"), rows)
    if check.changes:
        changed = [(_code(each.what), _text(each.told), each.direction) for each in check.changes[:MOST_CHANGES]]
        yield _table(("since the baseline", "change", "that is"), changed) + _more(check.changes, MOST_CHANGES)
    if check.agreement:
        found = check.agreement
        rows = [
            (_code(output.name), f"{output.equal:.2%}", f"{output.max_lsb:.3g} LSB", _share(output.argmax_agreement))
            for output in found.outputs
        ]
        title = f"output against {_code(found.reference)}, {found.samples} samples"
        yield _table((title, "equal", "largest difference", "decides alike"), rows)
    if check.waived:
        rows = [
            (each.finding.code, _code(each.finding.where), _text(each.reason), str(each.until or ""))
            for each in check.waived
        ]
        yield _table(("waived", "where", "reason", "until"), rows)


def _findings(findings: Sequence[Finding]) -> str:
    rows = [
        (finding.severity, finding.code, _code(finding.where), _text(finding.message), _text(finding.fix))
        for finding in findings[:MOST_FINDINGS]
    ]
    return _table(("", "code", "where", "what", "fix"), rows) + _more(findings, MOST_FINDINGS)


def _more(rows: Sequence[object], most: int) -> str:
    return f"\n\n{len(rows) - most} more in the JSON report." if len(rows) > most else ""


def _limit(key: str, limit: float) -> str:
    return f"{'≥' if LIMITS[key].at_least else '≤'} {number(limit)}"


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str | None) -> str:
    return f"<code>{_text(text)}</code>" if text else ""


def _text(text: str) -> str:
    """Return a text in which Markdown and HTML find nothing of theirs."""
    escaped = "".join(char if char.isalnum() or char in HARMLESS else f"&#{ord(char)};" for char in plain(text))
    for before, after in BROKEN_UP.items():
        escaped = escaped.replace(before, after)
    return escaped
