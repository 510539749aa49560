"""The report for people: a paragraph a file, findings worst first, each with what to do, and the verdict last."""

from collections.abc import Iterator

from pipeline.checks.finding import Finding
from pipeline.gate.budget import told
from pipeline.gate.verdict import Agreement, Check, Report, titled
from pipeline.plain import plain

SUFFIX = ".txt"
MARKS = {"kept": "kept", "missed": "MISSED", "not_shown": "not shown"}
MOST_ALIKE = 5
"""Findings of one code that are told one by one; a float file has one a layer."""


def render(report: Report) -> str:
    """Return the report as plain text."""
    blocks = ["\n".join(_check(report, check)) for check in report.checks]
    if report.findings:
        blocks.append("\n".join([plain(report.waivers_file), *_findings(report.findings)]))
    if report.baseline_file:
        blocks.extend(_baseline(report))
    return "\n\n".join([*blocks, summary(report)]) + "\n"


def summary(report: Report) -> str:
    """Return the verdict in one line."""
    waived = sum(len(check.waived) for check in report.checks)
    parts = [_counted(report.count("error"), "error"), _counted(report.count("warning"), "warning")]
    parts += [_counted(report.count("note"), "note")] + ([f"{waived} waived"] if waived else [])
    files = _counted(len(report.checks), "check")
    strict = " (strict: warnings fail)" if report.strict and report.count("warning") else ""
    return f"{'passed' if report.passed else 'FAILED'}: {files}, {', '.join(parts)}{strict}"


def _check(report: Report, check: Check) -> Iterator[str]:
    yield f"{plain(check.title)}: {'passed' if report.check_passed(check) else 'FAILED'}"
    yield f"  {_facts(check)}"
    yield from _findings(check.findings)
    for waived in check.waived:
        until = f" until {waived.until}" if waived.until else ""
        where = f" at {plain(waived.finding.where)}" if waived.finding.where else ""
        yield f"  waived   {waived.finding.code}{where}{until}: {plain(waived.reason)}"
    found = {finding.where for finding in check.findings}  # what a finding tells isn't told again
    for line in check.budget:
        if line.budget not in found:
            yield f"  budget   {line.budget} {MARKS[line.outcome]}: {plain(told(line))}"
    for change in check.changes:
        if change.what not in found:
            yield f"  {change.direction:<8} {plain(change.what)}: {plain(change.told)}"
    if check.agreement:
        yield from _agreement(check.agreement)


def _facts(check: Check) -> str:
    facts = check.facts
    parts = [check.format, f"{facts['size_bytes'] / 1024:.1f} KiB"]
    if facts.get("macs") is not None:
        parts.append(f"{facts['macs']:,} MACs")
    if facts.get("peak_activation_bytes") is not None:
        parts.append(f"peak memory {facts['peak_activation_bytes'] / 1024:.1f} KiB")
    parts.append(f"{sum(facts['operators'].values())} operators, {facts['float_operators']} of them in float")
    return ", ".join(parts)


def _findings(findings: tuple[Finding, ...]) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    for finding in findings:
        kind = (finding.code, finding.severity)
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] > MOST_ALIKE:
            continue
        yield f"  {finding.severity:<8} {plain(titled(finding))}: {plain(finding.message)}"
        if seen[kind] == 1:
            yield f"           why: {plain(finding.why)}"
            yield f"           fix: {plain(finding.fix)}"
    for (code, severity), count in seen.items():
        if count > MOST_ALIKE:
            yield f"  {severity:<8} {code}: {count - MOST_ALIKE} more like these; --format json has all"


def _agreement(agreement: Agreement) -> Iterator[str]:
    for output in agreement.outputs:
        share = "" if output.argmax_agreement is None else f", decides alike on {output.argmax_agreement:.2%}"
        yield (
            f"  agrees   {plain(output.name)} with {plain(agreement.reference)} on {agreement.samples} samples: {output.equal:.2%} equal, "
            f"{output.within_1_lsb:.2%} within 1 LSB, at most {output.max_lsb:.3g} LSB{share}"
        )
    if agreement.accuracy:
        found = agreement.accuracy
        yield (
            f"  accuracy {found.value:.4f}, the reference's {found.reference:.4f}, "
            f"lost {found.drop:+.4f} [{found.drop_low:+.4f}, {found.drop_high:+.4f}]"
        )


def _baseline(report: Report) -> Iterator[str]:
    if report.baseline_written:
        yield f"wrote baseline {plain(report.baseline_file)}; commit it"
    elif not any(check.changes for check in report.checks):
        yield f"nothing changed since baseline {plain(report.baseline_file)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
