"""Both files on an emulated x86 processor without VNNI, where unsigned times signed saturates in ONNX Runtime's kernels.

QEMU's user mode runs this very Python, with ONNX Runtime and LiteRT, on a Haswell (AVX2, no AVX-512): about 30 times slower than
the processor, 3 s to start.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.quantization.integer import simulate
from tests.both_files import BUILDERS, make_case

ROOT = Path(__file__).parents[3]
COUNT = 60
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # torch's own deep copy of a graph
]

ANSWER = """
import sys
from pathlib import Path
import numpy as np
from pipeline.checks.answers import open_file
inputs = np.load(sys.argv[1])
for path in map(Path, sys.argv[2:]):
    np.save(path.with_suffix(path.suffix + ".npy"), open_file(path).answer([inputs])[0])
"""
SATURATE = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.x64quantprecision", sys.argv[3])
session = onnxruntime.InferenceSession(sys.argv[2], options)
np.save(sys.argv[4], session.run(None, {"x": np.load(sys.argv[1])})[0])
"""


def run_on_haswell(code: str, *arguments: Path | str) -> None:
    qemu = shutil.which("qemu-x86_64")
    assert qemu is not None, "qemu-x86_64 isn't installed; run: apt-get install -y --no-install-recommends qemu-user"
    command = [qemu, "-cpu", "Haswell", sys.executable, "-c", code, *map(str, arguments)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_the_emulated_processor_has_no_vnni(tmp_path: Path) -> None:
    code = "import sys, numpy; from numpy._core._multiarray_umath import __cpu_features__ as f; "
    code += "numpy.save(sys.argv[1], [f['AVX2'], f['AVX512F'], f['AVX512VNNI' if 'AVX512VNNI' in f else 'AVX512_CLX']])"
    run_on_haswell(code, tmp_path / "features.npy")

    assert np.load(tmp_path / "features.npy").tolist() == [True, False, False]


@pytest.mark.parametrize("name", BUILDERS)
def test_both_files_answer_as_the_simulation_does(name: str, tmp_path: Path) -> None:
    case = make_case(name, tmp_path)
    inputs = case.inputs[:COUNT]
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    run_on_haswell(ANSWER, tmp_path / "inputs.npy", case.onnx, case.tflite)
    onnx_answers, tflite_answers = (np.load(f"{path}.npy") for path in (case.onnx, case.tflite))

    np.testing.assert_array_equal(onnx_answers, simulate(case.frozen, runtime="onnxruntime")(inputs).numpy())
    np.testing.assert_array_equal(tflite_answers, simulate(case.frozen, runtime="litert")(inputs).numpy())
    assert (onnx_answers == tflite_answers).mean() >= 0.99


@pytest.mark.parametrize(("precise", "saturates"), [("0", True), ("1", False)])
def test_large_weights_saturate_unless_the_session_asks_for_precision(
    precise: str, *, saturates: bool, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 256, (4, 64, 8, 8)).astype(np.uint8)
    weights = generator.integers(-127, 128, (32, 64, 3, 3)).astype(np.int8)
    np.save(tmp_path / "x.npy", codes)
    write_convolution(tmp_path / "convolution.onnx", weights)
    run_on_haswell(SATURATE, tmp_path / "x.npy", tmp_path / "convolution.onnx", precise, tmp_path / "y.npy")

    assert saturates == bool((np.load(tmp_path / "y.npy") != exact_convolution(codes, weights)).any())


def write_convolution(path: Path, weights: NDArray[Any]) -> None:
    """Write a QLinearConv of uint8 with zero points and scales such that its accumulator is divided by 4096."""
    constants = {
        "x_scale": np.float32(1),
        "x_zero": np.uint8(0),
        "w": weights,
        "w_scale": np.float32(1 / 4096),
        "w_zero": np.int8(0),
        "y_scale": np.float32(1),
        "y_zero": np.uint8(128),
    }
    node = helper.make_node("QLinearConv", ["x", *constants], ["y"])
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, None)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


def exact_convolution(codes: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    windows = np.lib.stride_tricks.sliding_window_view(codes.astype(np.float64), (3, 3), axis=(2, 3))
    accumulator = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.float64))
    codes_out: NDArray[Any] = (np.rint(accumulator / 4096) + 128).clip(0, 255).astype(np.uint8)
    return codes_out
