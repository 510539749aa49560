"""SARIF 2.1.0, for code scanning: one run, a rule a code, a result a finding; a waiver is an accepted suppression.

Schema: https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json. A model has no lines, so a result
points at the file's first one, as GitHub asks for, and names its layer as a logical location. Results are told apart over
time by file, target, code and layer, not by their message, in which figures change.
"""

import hashlib
import json
import os
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from pipeline.checks.finding import Finding, Severity
from pipeline.gate.codes import known_codes
from pipeline.gate.verdict import Report, Waived
from pipeline.plain import plain

SUFFIX = ".sarif"
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "note"}


def render(report: Report) -> str:
    """Return the report as a SARIF log."""
    found = [(check.model, check.target, finding, None) for check in report.checks for finding in check.findings]
    waived = [(check.model, check.target, each.finding, each) for check in report.checks for each in check.waived]
    about = [(report.waivers_file, None, finding, None) for finding in report.findings]
    rows = [*found, *waived, *about]
    codes = sorted({finding.code for _, _, finding, _ in rows})
    results = [_result(report, *row, rule=codes.index(row[2].code)) for row in rows]
    driver = {"name": "edgepress", "version": version("edgepress"), "rules": [_rule(code) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The folder in which edgepress check was run."}}},
        "results": results,
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(code: str) -> dict[str, Any]:
    meant = known_codes()[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in code.split("-")),
        "shortDescription": {"text": f"{meant.meaning[:1].upper()}{meant.meaning[1:]}."},
        "fullDescription": {"text": f"{meant.meaning[:1].upper()}{meant.meaning[1:]}: {meant.why}."},
        "help": {"text": f"{meant.fix[:1].upper()}{meant.fix[1:]}."},
    }


def _result(
    report: Report, model: str, target: str | None, finding: Finding, waived: Waived | None, *, rule: int
) -> dict[str, Any]:
    level = "error" if waived is None and report.fails(finding) else LEVELS[finding.severity]
    of = f" for {target}" if target else ""
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": level,
        "message": {"text": f"{plain(finding.message)}{of}. Why: {plain(finding.why)}. Fix: {plain(finding.fix)}."},
        "locations": [_location(model, finding)],
        "partialFingerprints": {"edgepressFinding/v1": _fingerprint(model, target, finding)},
        "properties": {"target": target},
    }
    if waived is not None:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": plain(waived.reason)}]
    return result


def _location(model: str, finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": quote(os.fsencode(model)), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 1},
        }
    }
    if finding.where:
        name = plain(finding.where)
        location["logicalLocations"] = [{"name": name, "fullyQualifiedName": name, "kind": "element"}]
    return location


def _fingerprint(model: str, target: str | None, finding: Finding) -> str:
    parts = "\0".join((model, target or "", finding.code, finding.where))
    return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()
