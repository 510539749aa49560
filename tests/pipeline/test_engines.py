"""Other tools as engines: each gives the format that it has, through the gate, and stands beside our calibration and training."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.api import compress
from pipeline.report.model import Report
from pipeline.report.text import to_markdown
from tests.small_task import Bars

TRAINED = {
    "seed": 3,
    "measure": False,
    "audit": {"on_weak": "skip"},
    "teach": {"epochs": 4, "batch_size": 16},
    "distill": {"epochs": 6, "batch_size": 16},
    "prune": {"epochs": 1, "batch_size": 16, "keep_macs": 1.0},
}


def made(folder: Path, **content: Any) -> Report:
    return compress(Bars(samples=150), ["raspberry-pi-4"], folder / "out", {**TRAINED, **content})["raspberry-pi-4"]


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path_factory.getbasetemp() / "engines"))


@pytest.mark.parametrize(
    ("engine", "kind"), [("onnxruntime", "onnx"), ("ai-edge-quantizer", "tflite"), ("neural-compressor", "onnx")]
)
def test_an_engine_delivers_one_file_that_the_gate_judges(engine: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "out" / "raspberry-pi-4").mkdir(parents=True)
    for old in ("model.onnx", "model.tflite"):
        (tmp_path / "out" / "raspberry-pi-4" / old).touch()
    report = made(tmp_path, controls=False, quantize={"engine": engine, "epochs": 0})

    gate = report.fidelity
    assert gate is not None
    file, other = (gate.onnx, gate.tflite) if kind == "onnx" else (gate.tflite, gate.onnx)
    assert file is not None
    assert (other, gate.onnx_tflite, gate.scales_equal) == (None, None, None)
    assert file.float_ops == sum("computes in float" in each or "runs in float" in each for each in file.findings)
    assert gate.passed == (abs(file.score - gate.program_score) <= 0.005 and (file.argmax_agreement or 0) >= 0.99)
    assert [path.name for path in (tmp_path / "out" / "raspberry-pi-4").glob("model.*")] == [f"model.{kind}"]
    assert list(report.drop) == [f"int8 {kind}"]
    assert f"| torch, {'ONNX' if kind == 'onnx' else 'TFLite'} |" in to_markdown(report)


def test_baselines_are_told_beside_our_own(tmp_path: Path) -> None:
    every = ["calibration", "onnxruntime", "ai-edge-quantizer", "neural-compressor"]
    report = made(tmp_path, quantize={"epochs": 1, "batch_size": 16, "baselines": every})

    assert list(report.quantised) == [
        "int8 onnx",
        "int8 tflite",
        "calibrated, int8 onnx",
        "calibrated, int8 tflite",
        "onnxruntime onnx",
        "ai-edge-quantizer tflite",
        "neural-compressor onnx",
    ]
    assert (report.quantised["int8 onnx"], report.quantised["int8 tflite"]) == (0, 0)
    assert set(report.quantised) <= set(report.drop)
    assert "## one network, quantised in several ways" in to_markdown(report)
