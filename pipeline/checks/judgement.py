"""What `check` knows about one model file: its facts and its findings.

`judge_file` is the door: it takes any ONNX or TFLite file, however strange, and answers with a Judgement, or with a
ModelError of one line where the bytes are no model at all. The file is parsed and opened in a bounded process (`examine`),
so this one imports neither onnx nor a runtime.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import file_digest
from pipeline.checks.examine import examine
from pipeline.checks.facts import facts_of
from pipeline.checks.finding import Finding, Promises
from pipeline.checks.graph import Format
from pipeline.checks.lints import find_all
from pipeline.checks.subject import subject_of
from targets import Target

MOST_OF_A_CODE = 200
"""A file with a thousand float operators has been told so by the two hundredth."""


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
    examined = examine(path)
    subject = subject_of(examined, target, promises)
    findings = find_all(subject)
    kept = tuple(_bounded(findings))
    facts = facts_of(subject) | {"findings_left_out": len(findings) - len(kept)}
    return Judgement(path.name, examined.graph.format, file_digest(path), facts, kept)


def _bounded(findings: list[Finding]) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    for finding in findings:
        counts[finding.code] += 1
        if counts[finding.code] <= MOST_OF_A_CODE:
            yield finding
