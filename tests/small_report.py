"""A report with a little of everything, as a run would write it; nothing of it was measured."""

import json
from pathlib import Path
from typing import Any

from pipeline.report.model import (
    Agreement,
    Confusion,
    Fidelity,
    FileFidelity,
    Finding,
    FitLine,
    Fits,
    Gain,
    Interval,
    LatencyRatio,
    LayerAgreement,
    LayerCost,
    LayerPair,
    Layers,
    LayerTime,
    LayerTimes,
    MeasurementFacts,
    MetricFacts,
    Mistake,
    Mistakes,
    Report,
    ReportRow,
    Reproduction,
    Spread,
    Verdict,
)

FORMS = (
    ("teacher wide", 0.95, 900_000, 9_000_000),
    ("teacher wide onnx", 0.95, 880_000, 9_000_000),
    ("distill", 0.9, 90_000, 900_000),
    ("int8 onnx", 0.91, 26_000, 500_000),
    ("int8 tflite", 0.91, 27_000, 500_000),
)

SEARCH = """{"schema": 1, "recipe": "bars", "why": "trial 1 is the cheapest", "budget": {"max_drop": 0.02}, "chosen": 1, "front": [0, 1], "trials": [
 {"number": 0, "settings": {"prune.keep_macs": 0.5}, "fitness": [{"target": "pixel-8", "score": 0.9, "drop_high": 0.01, "size_kib": 20,
  "cost": 2000, "quantity": "instructions", "unit": "instructions", "label": "emulated"}]},
 {"number": 1, "settings": {"prune.keep_macs": 0.3}, "fitness": [{"target": "pixel-8", "score": 0.9, "drop_high": 0.02, "size_kib": 20,
  "cost": 1000, "quantity": "instructions", "unit": "instructions", "label": "emulated"}]},
 {"number": 2, "settings": {}, "fitness": []}]}"""
CONFUSION = Confusion(
    form="int8 tflite", labels=("cat", "dog"), counts=((60, 2), (1, 37)), wrong=(("cat", "dog", 2), ("dog", "cat", 1))
)

MISTAKES = Mistakes(
    forms=("teacher wide", "int8 tflite"), wrong=3, worst=(Mistake(sample=7, what="a cat", said=("a cat", "a dog")),)
)


def around(value: float, *, by: float = 0.02) -> Interval:
    return Interval(value=value, low=value - by, high=value + by)


def row(stage: str, score: float, size_bytes: int, macs: int | None) -> ReportRow:
    return ReportRow(
        stage=stage,
        score=around(score),
        parameters=1000,
        macs=macs,
        size_bytes=size_bytes,
        seconds=1.0,
        cached=False,
        digest=f"{stage} {score}",
    )


def latency(model: str, median: float, **changes: Any) -> MeasurementFacts:
    facts: dict[str, Any] = {
        "model": model,
        "device": "host",
        "machine": "a machine, 2 cores",
        "runtime": "litert 2.3.0",
        "threads": 1,
        "quantity": "latency",
        "unit": "ms",
        "label": "measured",
        "value": median,
        "p90": median * 1.2,
        "p99": median * 2,
        "low": median * 0.95,
        "high": median * 1.05,
        "samples": 5000,
        "processes": 8,
        "drift": 0.01,
        "histogram": Spread(low=median * 0.9, high=median * 1.5, counts=(10, 80, 30, 0, 4), beyond=3),
        "valid": True,
        "why_invalid": None,
        "how": "",
        "made_at": "2026-01-01T00:00:00+00:00",
    }
    return MeasurementFacts(**{**facts, **changes})


def report(**changes: Any) -> Report:
    """Return it, with some of its fields changed."""
    base: dict[str, Any] = {
        "recipe": "bars",
        "target": "raspberry-pi-4",
        "made_at": "2026-01-01T00:00:00+00:00",
        "toolchain": {"edgepress": "0.1.0", "torch": "2.13.0"},
        "metric": MetricFacts(name="accuracy", higher_is_better=True),
        "test_samples": 1250,
        "rows": tuple(row(*form) for form in FORMS),
        "controls": (
            row("student alone", 0.89, 90_000, 900_000),
            row("student alone, tflite by PTQ", 0.88, 40_000, None),
        ),
        "reference": "teacher wide",
        "drop": {"int8 tflite": around(0.04)},
        "gains": (_gain(),),
        "fidelity": _fidelity(),
        "measurements": (latency("teacher wide onnx", 0.8), latency("int8 onnx", 0.1), latency("int8 tflite", 0.09)),
        "verdicts": (
            _verdict("max_drop, int8 tflite", 0.01, "missed"),
            _verdict("size_kib, int8 tflite", 56, "kept"),
            _verdict("latency_ms, int8 tflite", 2, "not_shown"),
        ),
        "layers": _layers(),
        "fits": (_fits(),),
        "confusion": CONFUSION,
        "mistakes": MISTAKES,
        "reproduction": reproduction(),
    }
    return Report(**{**base, **changes})


def reproduction(**distill: Any) -> Reproduction:
    return Reproduction(
        recipe={"schema": 1, "name": "bars", "seed": 0, "targets": ["raspberry-pi-4"], "budget": {"size_kib": 56.0}},
        settings={"distill": {"temperature": 4.0, "epochs": 5, **distill}, "quantize": {"rules": {"weight_bits": 8}}},
        task={"data.test": "a" * 64, "student": "b" * 64},
        files={"model.tflite": "c" * 64},
        machine="Python 3.11.7, Linux x86_64",
    )


def write_run(folder: Path, *reports: Report) -> Path:
    """Write reports as a run does, a folder each."""
    for each in reports:
        (folder / each.target).mkdir(parents=True, exist_ok=True)
        (folder / each.target / "report.json").write_text(json.dumps(each.to_json()), encoding="utf-8")
    return folder


def _fidelity() -> Fidelity:
    pair = Agreement(equal=0.99, within_1_lsb=1.0, within_2_lsb=1.0, max_lsb=1.0, argmax_agreement=1.0)
    file = FileFidelity(score=0.91, float_ops=0, argmax_agreement=1.0, findings=("note falls-back: MEAN",))
    return Fidelity(
        passed=True,
        why_failed=(),
        scales_equal=True,
        first_divergence=None,
        program_score=0.91,
        onnx=file,
        tflite=file,
        torch_onnx=pair,
        torch_tflite=pair,
        onnx_tflite=pair,
    )


def _verdict(budget: str, limit: float, outcome: Any) -> Verdict:
    return Verdict(budget=budget, limit=limit, value=0.5 * limit, label="measured", outcome=outcome, why="as it is")


def _gain() -> Gain:
    return Gain(
        new="int8 tflite",
        old="teacher wide tflite",
        old_macs=9_000_000,
        new_macs=500_000,
        old_bytes=880_000,
        new_bytes=27_000,
        difference=around(-0.04),
        latency=(
            LatencyRatio(
                device="host",
                threads=1,
                old_ms=0.8,
                new_ms=0.09,
                ratio=around(0.11),
                interleaved=True,
                verdict="faster",
            ),
        ),
    )


def _layers() -> Layers:
    agreement = (
        LayerAgreement(name="x", operator="input", equal=1.0, max_lsb=0),
        LayerAgreement(name="conv", operator="CONV_2D", equal=0.98, max_lsb=2),
    )
    return Layers(
        file="int8 tflite",
        costs=(
            LayerCost(name="conv", operator="CONV_2D", macs=400_000, weight_bytes=3000),
            LayerCost(name="mean", operator="MEAN", macs=0, weight_bytes=8),
            LayerCost(name="y", operator="FULLY_CONNECTED", macs=100_000, weight_bytes=640),
        ),
        times=(
            LayerTimes(
                file="int8 onnx",
                device="host",
                label="measured",
                how="a profile",
                layers=(
                    LayerTime(name="conv", operator="QLinearConv", value=80.0, unit="us", share=0.8),
                    LayerTime(name="y", operator="QGemm", value=20.0, unit="us", share=0.2),
                ),
            ),
        ),
        pairs=(
            LayerPair(one="torch", other="TFLite", layers=agreement, first_divergence="torch and TFLite at CONV_2D"),
        ),
    )


def _fits() -> Fits:
    line = FitLine(what="file", label="exact", needs_bytes=27_000, where="flash", has_bytes=2**21, fits=True)
    found = Finding(code="falls-back", severity="note", message="MEAN isn't run by CMSIS-NN", where="mean")
    return Fits(file="int8 tflite", fits=True, lines=(line,), findings=(found,))
