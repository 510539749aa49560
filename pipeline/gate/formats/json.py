"""The report as one JSON document: all that is known, with nothing cut or escaped but by JSON itself."""

import json
import math
from dataclasses import asdict
from typing import Any

from pipeline.gate.verdict import Check, Report, Waived

SUFFIX = ".json"
SCHEMA = 1


def render(report: Report) -> str:
    """Return the report as JSON with sorted keys."""
    document = {
        "schema": SCHEMA,
        "verdict": _verdict(passed=report.passed),
        "strict": report.strict,
        "checks": [_check(report, check) for check in report.checks],
        "waivers": {"file": report.waivers_file, "findings": [asdict(finding) for finding in report.findings]},
        "baseline": {"file": report.baseline_file, "written": report.baseline_written},
    }
    return json.dumps(_finite(document), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _check(report: Report, check: Check) -> dict[str, Any]:
    return {
        "model": check.model,
        "format": check.format,
        "sha256": check.sha256,
        "target": check.target,
        "verdict": _verdict(passed=report.check_passed(check)),
        "findings": [asdict(finding) for finding in check.findings],
        "waived": [_waived(each) for each in check.waived],
        "budget": [asdict(line) for line in check.budget],
        "changes": [asdict(change) for change in check.changes],
        "agreement": asdict(check.agreement) if check.agreement else None,
        "measurements": [each.to_json() for each in check.measurements],
        "facts": dict(check.facts),
    }


def _waived(waived: Waived) -> dict[str, Any]:
    return {
        "finding": asdict(waived.finding),
        "reason": waived.reason,
        "until": waived.until.isoformat() if waived.until else None,
    }


def _finite(value: Any) -> Any:
    """Return a value in which numbers that JSON doesn't have are texts: a broken file may hold such scales."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _verdict(*, passed: bool) -> str:
    return "pass" if passed else "fail"
