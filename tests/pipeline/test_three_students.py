"""The promise of the three built-in students, trained: int8 throughout, both files equal, and the program within a step."""

from pathlib import Path

import pytest

from pipeline.api import compress
from pipeline.networks.resnet import resnet8
from pipeline.task import Teacher
from pipeline.tasks.digits import Digits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
WITHIN_1_LSB = {"resnet8": 0.99, "mobilenet": 0.98, "dscnn": 0.99}
SETTINGS = {
    "stages": ["teach", "distill", "quantize", "export"],
    "controls": False,
    "measure": False,
    "teach": {"epochs": 4},
    "distill": {"epochs": 8},
    "quantize": {"epochs": 2},
}


class QuickDigits(Digits):
    """Digits with a teacher that learns in seconds."""

    def teachers(self) -> dict[str, Teacher]:
        return {"resnet8": Teacher(resnet8)}


@pytest.mark.parametrize("student", ["resnet8", "mobilenet", "dscnn"])
def test_torch_onnx_and_tflite_are_one_model(student: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))

    report = compress(QuickDigits(student), ["raspberry-pi-4"], tmp_path / "out", SETTINGS)["raspberry-pi-4"]

    gate = report.fidelity
    print(gate)
    assert gate is not None
    assert gate.program_score > 0.9, "the student never learned: its outputs mean nothing"
    assert (gate.passed, gate.scales_equal) == (True, True)
    assert (gate.onnx.float_ops, gate.tflite.float_ops) == (0, 0)
    assert gate.onnx_tflite.equal >= 0.999
    assert min(gate.torch_onnx.within_1_lsb, gate.torch_tflite.within_1_lsb) >= WITHIN_1_LSB[student]
    assert min(gate.torch_onnx.within_2_lsb, gate.torch_tflite.within_2_lsb) >= 0.999
    assert min(gate.onnx.argmax_agreement or 0, gate.tflite.argmax_agreement or 0) >= 0.998
    assert max(abs(gate.onnx.score - gate.program_score), abs(gate.tflite.score - gate.program_score)) <= 0.001
