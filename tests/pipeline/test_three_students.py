"""The promise of the three built-in students, trained: int8 throughout, both files equal, and the program within a step.

Both files answer the whole test split once more on an emulated processor without VNNI, and must give the same bits there.
"""

from pathlib import Path

import numpy as np
import pytest

from pipeline.api import compress
from pipeline.checks.answers import open_file
from pipeline.networks.resnet import resnet8
from pipeline.tasks.digits import Digits
from pipeline.teacher import Teacher
from tests.pipeline.quantization.test_without_vnni import ANSWER, run_on_haswell

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
    onnx, tflite = gate.onnx, gate.tflite
    assert onnx is not None
    assert tflite is not None
    assert (onnx.float_ops, tflite.float_ops) == (0, 0)
    assert gate.onnx_tflite is not None
    assert gate.onnx_tflite.equal >= 0.999
    for pair in (gate.torch_onnx, gate.torch_tflite):
        assert pair is not None
        assert pair.within_1_lsb >= WITHIN_1_LSB[student]
        assert pair.within_2_lsb >= 0.999
    assert min(onnx.argmax_agreement or 0, tflite.argmax_agreement or 0) >= 0.998
    assert max(abs(onnx.score - gate.program_score), abs(tflite.score - gate.program_score)) <= 0.001
    check_on_haswell(tmp_path / "out" / "raspberry-pi-4", tmp_path / "inputs.npy")


def check_on_haswell(made: Path, inputs: Path) -> None:
    test = Digits().data().test
    pictures = np.stack([test[index][0] for index in range(len(test))])
    np.save(inputs, pictures)
    files = [made / "model.onnx", made / "model.tflite"]

    run_on_haswell(ANSWER, inputs, *files)

    for file in files:
        np.testing.assert_array_equal(np.load(f"{file}.npy"), open_file(file).answer([pictures])[0])
