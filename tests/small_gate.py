"""Reports of the gate, made by hand: one that holds every kind of thing, with names as hostile as a file may have them."""

from dataclasses import replace
from datetime import date
from typing import Any

from devices import Measurement
from pipeline.checks.finding import Finding, Severity
from pipeline.gate.codes import known_codes
from pipeline.gate.verdict import (
    Accuracy,
    Agreement,
    Change,
    Check,
    Line,
    OutputAgreement,
    Report,
    Waived,
)

HOSTILE = (
    "new\nline\r\n::error::forged",
    "##[command]forged",
    "pipe | and `tick` and <script>alert(1)</script>",
    "\x1b[31mred\x1b[0m \x00 \x07",
    "]]> <!-- comment --> &amp; \"quoted\" 'single'",
    "@somebody www.example.org https://example.org a,b:c%0A",
    "\u202etxt.exe\u2028 \ufffe \U0001f600",
    "[link](javascript:alert(1)) ![image](x) **bold** _it_ ~~s~~ #1",
    "a" * 5000,
    "",
)
FACTS: dict[str, Any] = {"size_bytes": 1560, "operators": {"CONV_2D": 1, "MEAN": 2}, "float_operators": 0, "macs": 1200}


def finding(code: str, severity: Severity, where: str = "layer", message: str = "") -> Finding:
    meant = known_codes()[code]
    return Finding(code, severity, message or f"{where!s} is wrong", where, meant.why, meant.fix)


def check(*findings: Finding, **changes: Any) -> Check:
    plain = Check("build/model.tflite", "tflite", "ab" * 32, "pixel-8", findings, facts=FACTS)
    return replace(plain, **changes)


def measurement(
    quantity: str = "latency", value: float = 2000.0, *, low: float = 1900.0, high: float = 2100.0, **changes: Any
) -> Measurement:
    plain = Measurement(
        model="model.tflite",
        model_sha256="ab" * 32,
        quantity=quantity,
        unit="us",
        label="measured",
        device="board",
        machine="a board",
        runtime="litert",
        runtime_version="2.3.0",
        threads=1,
        value=value,
        low=low,
        high=high,
        samples=500,
        processes=5,
        process_medians=(value,) * 5,
        valid=True,
        why_invalid="",
        together=("ab" * 32,),
        p90=value * 1.1,
    )
    return replace(plain, **changes)


def hostile_report(*, strict: bool = False) -> Report:
    """One report with everything in it, each name of HOSTILE at each place that a file can reach."""
    findings = tuple(finding("float-op", "error", name, f"{name} computes in float") for name in HOSTILE)
    notes = (finding("budget-not-shown", "warning", "latency_ms"), finding("unused-tensor", "note", "t"))
    lines = (
        Line("size_kib", 2.0, 1.5, 1.5, 1.5, "exact", "kept", "the file's size"),
        Line("macs", 1000.0, 1200.0, 1200.0, 1200.0, "exact", "missed", HOSTILE[0]),
        Line("latency_ms", 2.0, None, None, None, None, "not_shown", HOSTILE[3]),
    )
    outputs = tuple(OutputAgreement(name, 0.9, 1.0, 1.0, 1.0, 0.99, 0.99, classes=True) for name in HOSTILE)
    full = check(
        *findings,
        *notes,
        model="build/mo del,100%:<b>|ü.tflite",
        waived=tuple(
            Waived(finding("hybrid", "error", name), name or "because", date(2027, 1, 31)) for name in HOSTILE
        ),
        budget=lines,
        changes=tuple(Change(name, 1, 2, "worse", name) for name in HOSTILE),
        agreement=Agreement("ref|erence.onnx", 64, "cd" * 32, outputs, Accuracy(0.9, 0.91, 0.01, -0.01, 0.03)),
        measurements=(measurement(),),
    )
    clean = check(model="build/good.onnx", format="onnx", target=None)
    about = (finding("waiver-expired", "error", "waive 1", HOSTILE[2]),)
    return Report((full, clean), about, "waivers.toml", "baseline.json", strict=strict)
