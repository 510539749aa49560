"""What `check` knows about one model file: its facts and its findings.

`judge_file` is the door: it takes any ONNX or TFLite file, however strange, and answers with a Judgement, or with a
ModelError of one line where the bytes are no model at all.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.checks.codes import CODES
from pipeline.checks.graph import Format, read_graph
from pipeline.checks.lints import Finding, Promises, facts_of, lint
from pipeline.checks.operators import fused_graph
from targets import Target


@dataclass(frozen=True)
class Judgement:
    """One file judged: `facts` is a JSON object with stable keys, `findings` come worst first."""

    model: str
    format: Format
    sha256: str
    facts: dict[str, Any]
    findings: tuple[Finding, ...]


def judge_file(path: Path, target: Target | None = None, promises: Promises | None = None) -> Judgement:
    """Judge a model file, for a target where one is named, by what it was promised to be where somebody says."""
    graph = read_graph(path)
    fused = fused_graph(path) if graph.format == "onnx" else None
    findings = lint(graph, promises or Promises(), fused=fused)
    return Judgement(
        model=path.name,
        format=graph.format,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        facts=facts_of(graph, fused=fused) | {"target": target.name if target else None},
        findings=tuple(explained(finding) for finding in findings),
    )


def explained(finding: Finding) -> Finding:
    """Return a finding with the reason and the remedy of its code where it has none of its own."""
    code = CODES[finding.code]
    return replace(finding, why=finding.why or code.why, fix=finding.fix or code.fix)
