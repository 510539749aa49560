"""Both files of small networks: what they hold, what they answer, and what they must not say."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.checks.answers import OpenFile, open_file
from pipeline.checks.graph import Graph, read_graph
from pipeline.quantization.fold import fold
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import calibrate, freeze, prepare
from pipeline.quantization.rules import Rules
from pipeline.quantization.trace import trace
from pipeline.stages.export_onnx import write_onnx
from pipeline.stages.export_tflite import write_tflite
from tests.both_files import BUILDERS, Case, shared_case, trained_statistics

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
INTEGER = FileForm(input_layout="NHWC", input_type="int8", output_type="int8")
ROOT = str(Path(__file__).parents[3])


class Shapes(nn.Module):
    """The shapes that broke a first try, in one network of several outputs, each [N, ...]."""

    def __init__(self) -> None:
        super().__init__()
        norm, conv = nn.BatchNorm2d, nn.Conv2d
        self.stem = nn.Sequential(conv(3, 8, 3, 2), norm(8), nn.ReLU6())
        self.depthwise = nn.Sequential(conv(8, 8, 3, 2, groups=8, bias=False), norm(8), nn.Hardswish())
        self.late_norm = nn.Sequential(conv(8, 8, (5, 1), padding=(2, 0)), nn.ReLU(), norm(8))
        self.squeeze, self.excite = conv(8, 4, 1), conv(4, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 4, 2, 1)
        self.dilated = nn.Sequential(conv(8, 8, 3, padding=2, dilation=2), nn.SiLU())
        self.row = nn.Sequential(nn.Conv1d(8, 8, 3, padding="same"), nn.ReLU())
        self.head = nn.Linear(8, 10)
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(F.pad(x, (0, 1, 0, 1)))
        y = self.depthwise(F.pad(x, (0, 1, 0, 1)))
        late = self.late_norm(y)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(late, 1)))))
        gated = late * gate + y
        joined = torch.cat([F.interpolate(self.dilated(gated), scale_factor=2.0), x], 1).chunk(2, 1)[0]
        row = self.row(F.max_pool2d(joined, 3, 2, 1).flatten(2))
        tokens = row.transpose(1, 2)
        attended = torch.softmax(self.query(tokens) @ self.key(tokens).transpose(1, 2), -1)
        return torch.sigmoid(self.head(row.mean(2))), F.relu(self.up(gated)), F.avg_pool2d(joined, 2), attended


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("shapes")
    torch.manual_seed(0)
    x = torch.randn(64, 3, 16, 16)
    prepared = prepare(trained_statistics(Shapes(), x), (x[:2],), Rules(whole_int8=True))
    calibrate(prepared, [(x,)])
    case = Case(freeze(prepared), x, folder / "model.onnx", folder / "model.tflite")
    metadata = {"labels": '["a", "b"]', "edgepress": "0"}
    write_onnx(case.frozen, (x[:2],), case.onnx, form=FileForm(dynamic_batch=True, metadata=metadata))
    form = FileForm(input_layout="NHWC", input_type="int8", output_type="int8", metadata=metadata)
    write_tflite(case.frozen, (x[:1],), case.tflite, form=form)
    return case


@pytest.fixture(scope="module", params=BUILDERS)
def case(request: pytest.FixtureRequest) -> Case:
    return shared_case(request.param)


def steps(file: OpenFile, one: NDArray[np.float32], other: NDArray[np.float32], index: int = 0) -> NDArray[np.float32]:
    """Return how many steps of the output's scale lie between two answers."""
    scale = file.outputs[index].scale
    assert scale is not None
    return np.abs(np.round((one - other) / scale))


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


def fused(path: Path, folder: Path) -> Counter[str]:
    """Return the operators that ONNX Runtime runs after its own optimisation."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


MOVING = {
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Split",
    "Resize",
    "MaxPool",
    "NhwcMaxPool",
    "Concat",
}


def assert_integer(path: Path, folder: Path, *, inputs: int = 1, outputs: int = 1) -> None:
    """See that ONNX Runtime computes nothing in float but the quantisers at the rim."""
    found = fused(path, folder)

    assert found.pop("QuantizeLinear") == inputs
    assert found.pop("DequantizeLinear") == outputs
    assert {op for op in found if not (op.startswith("QLinear") or op in MOVING)} <= {"QGemm"}


def test_no_operation_of_either_file_is_in_float(case: Case, tmp_path: Path) -> None:
    tflite = read_graph(case.tflite)

    assert {tensor.dtype for tensor in tflite.tensors.values()} <= {"int8", "int32"}
    assert_integer(case.onnx, tmp_path)


def test_both_files_answer_bit_for_bit_alike(case: Case) -> None:
    onnx_file, tflite_file = open_file(case.onnx), open_file(case.tflite)
    (one,), (other,) = (file.answer([case.inputs.numpy()]) for file in (onnx_file, tflite_file))

    np.testing.assert_array_equal(one, other)


def test_the_frozen_program_is_within_a_step_of_both_files(case: Case) -> None:
    file = open_file(case.tflite)
    (answer,) = file.answer([case.inputs.numpy()])
    mine = case.frozen(case.inputs).numpy()
    apart = steps(file, answer, mine)

    assert (apart <= 1).mean() >= 0.99
    assert (apart <= 2).mean() >= 0.999
    assert (answer.argmax(1) == mine.argmax(1)).mean() >= 0.99  # weights are random: many classes lie a step apart


def test_a_weight_takes_a_byte_in_both_files(case: Case) -> None:
    for path, overhead in ((case.onnx, 40_000), (case.tflite, 45_000)):
        weights = sum(
            tensor.size_bytes
            for tensor in read_graph(path).tensors.values()
            if tensor.dtype == "int8" and tensor.constant
        )

        assert path.stat().st_size < weights + overhead


def test_every_scale_is_in_both_files(case: Case) -> None:
    scales = []
    for path in (case.onnx, case.tflite):
        quantised = (
            t
            for t in read_graph(path).tensors.values()
            if t.quantization and t.dtype in ("int8", "uint8") and not t.constant
        )
        scales.append(
            {t.quantization.scales[0] for t in quantised if t.quantization and len(t.quantization.scales) == 1}
        )

    assert scales[1] <= scales[0] or scales[0] == scales[1]


def test_the_shapes_that_broke_a_first_try_are_all_int8(shapes: Case, tmp_path: Path) -> None:
    tflite = read_graph(shapes.tflite)

    assert {tensor.dtype for tensor in tflite.tensors.values()} <= {"int8", "int32"}
    assert_integer(shapes.onnx, tmp_path, outputs=4)


def test_the_shapes_that_broke_a_first_try_answer_alike(shapes: Case) -> None:
    onnx_file, tflite_file = open_file(shapes.onnx), open_file(shapes.tflite)
    x = shapes.inputs.numpy()
    theirs = [output.numpy() for output in shapes.frozen(shapes.inputs)]
    for index, (one, other, mine) in enumerate(
        zip(onnx_file.answer([x]), tflite_file.answer([x]), theirs, strict=True)
    ):
        other = other if other.shape == one.shape else np.moveaxis(other, -1, 1)  # noqa: PLW2901  # channels last

        assert (steps(tflite_file, one, other, index) == 0).mean() >= 0.999
        assert (steps(tflite_file, one, mine, index) <= 1).mean() >= 0.98


def test_pads_before_strided_convolutions_scatter_no_transposes(shapes: Case) -> None:
    graph = read_graph(shapes.tflite)
    pads = [node for node in graph.nodes if node.op in ("PAD", "PADV2")]
    strided = [node for node in graph.nodes if node.op in ("CONV_2D", "DEPTHWISE_CONV_2D")][:2]

    assert all(
        graph.producers[node.inputs[0]].op != "TRANSPOSE" for node in strided if node.inputs[0] in graph.producers
    )
    assert all(graph.producers[pad.inputs[0]].op != "TRANSPOSE" for pad in pads if pad.inputs[0] in graph.producers)


def test_no_file_says_a_path_or_a_line_of_source(case: Case) -> None:
    for path in (case.onnx, case.tflite):
        content = path.read_bytes()

        assert ROOT.encode() not in content
        assert b"site-packages" not in content
        assert b"def forward" not in content
        assert b".py" not in content


def test_labels_and_names_travel_in_both_files(shapes: Case) -> None:
    graph = onnx.load(shapes.onnx)

    assert {entry.key: entry.value for entry in graph.metadata_props}["labels"] == '["a", "b"]'
    assert b'["a", "b"]' in shapes.tflite.read_bytes()
    assert [port.name for port in open_file(shapes.tflite).inputs] == ["input"]
    assert [port.name for port in open_file(shapes.onnx).outputs] == [f"output_{number}" for number in range(4)]


class Small(nn.Module):
    """Two convolutions and a head: x [N, 3, 8, 8] to [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layers(x).flatten(1))
        return logits


def small() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Small().eval(), torch.randn(40, 3, 8, 8)


def test_an_onnx_file_takes_bytes_channels_last(tmp_path: Path) -> None:
    module, x = small()
    prepared = prepare(module, (x[:2],), Rules())
    calibrate(prepared, [(x,)])
    frozen = freeze(prepared)
    bytes_form = FileForm(input_layout="NHWC", input_type="uint8", output_type="uint8", dynamic_batch=True)
    write_onnx(frozen, (x[:2],), tmp_path / "bytes.onnx", form=bytes_form)
    write_onnx(frozen, (x[:2],), tmp_path / "floats.onnx", form=FileForm())
    bytes_file, floats_file = open_file(tmp_path / "bytes.onnx"), open_file(tmp_path / "floats.onnx")

    assert bytes_file.inputs[0].dtype == bytes_file.outputs[0].dtype == "uint8"
    assert bytes_file.inputs[0].shape == (0, 8, 8, 3)
    assert floats_file.inputs[0].shape == (1, 3, 8, 8)
    np.testing.assert_array_equal(bytes_file.answer([x.numpy()])[0], floats_file.answer([x.numpy()])[0])


def test_a_tflite_file_takes_and_gives_floats_where_asked(tmp_path: Path) -> None:
    module, x = small()
    prepared = prepare(module, (x[:2],), Rules())
    calibrate(prepared, [(x,)])
    frozen = freeze(prepared)
    write_tflite(frozen, (x[:1],), tmp_path / "floats.tflite", form=FileForm())
    write_tflite(frozen, (x[:1],), tmp_path / "integers.tflite", form=INTEGER)
    floats, integers = open_file(tmp_path / "floats.tflite"), open_file(tmp_path / "integers.tflite")

    assert floats.inputs[0].dtype == floats.outputs[0].dtype == "float32"
    assert integers.inputs[0].shape == (1, 8, 8, 3)
    np.testing.assert_array_equal(floats.answer([x.numpy()])[0], integers.answer([x.numpy()])[0])


def test_the_same_program_gives_the_same_bytes(tmp_path: Path) -> None:
    module, x = small()
    prepared = prepare(module, (x[:2],), Rules())
    calibrate(prepared, [(x,)])
    for name in ("a", "b"):
        frozen = freeze(prepared)
        write_onnx(frozen, (x[:2],), tmp_path / f"{name}.onnx", form=FileForm(metadata={"task": "small"}))
        write_tflite(frozen, (x[:1],), tmp_path / f"{name}.tflite", form=INTEGER)

    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()


@pytest.mark.parametrize("scheme", [None, "float16", "dynamic_int8"])
def test_a_float_network_comes_out_in_every_scheme(scheme: str | None, tmp_path: Path) -> None:
    module, x = small()
    program = fold(trace(module, (x[:2],)))
    write_onnx(program, (x[:2],), tmp_path / "m.onnx", form=FileForm(dynamic_batch=True), scheme=scheme)  # type: ignore[arg-type]  # a scheme's name
    write_tflite(program, (x[:1],), tmp_path / "m.tflite", form=FileForm(), scheme=scheme)  # type: ignore[arg-type]  # as above
    wanted = module(x).detach().numpy()
    tolerance = {None: 1e-5, "float16": 2e-3, "dynamic_int8": 3e-2}[scheme]
    for name in ("m.onnx", "m.tflite"):
        found = open_file(tmp_path / name).answer([x.numpy()])[0]

        np.testing.assert_allclose(found, wanted, atol=tolerance)


def test_writing_a_file_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module, x = small()
    program = fold(trace(module, (x[:2],)))
    write_onnx(program, (x[:2],), tmp_path / "m.onnx", form=FileForm())
    write_tflite(program, (x[:1],), tmp_path / "m.tflite", form=FileForm())

    assert capfd.readouterr() == ("", "")
