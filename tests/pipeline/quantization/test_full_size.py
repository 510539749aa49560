"""The networks that people really have, at their full size with random weights: what stays in float, what a weight costs."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.checks.answers import open_file
from pipeline.checks.graph import read_graph
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import calibrate, freeze, prepare
from pipeline.quantization.rules import Rules
from pipeline.stages.export_onnx import write_onnx
from pipeline.stages.export_tflite import write_tflite

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # torch's own deep copy of a graph
]
SIDE = 96


class Logits(nn.Module):
    """A network of transformers as one of pictures [N, 3, SIDE, SIDE] to [N, 10]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def mobilenet_v2() -> nn.Module:
    import transformers

    return Logits(transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config(num_labels=10)))


def efficientnet_b0() -> nn.Module:
    import transformers

    config = transformers.EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, image_size=224, hidden_dim=1280, num_labels=10
    )
    return Logits(transformers.EfficientNetForImageClassification(config))


def resnet_18() -> nn.Module:
    import transformers

    config = transformers.ResNetConfig(
        depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", num_labels=10
    )
    return Logits(transformers.ResNetForImageClassification(config))


@pytest.mark.parametrize("build", [mobilenet_v2, efficientnet_b0, resnet_18])
def test_a_full_size_network_is_int8_throughout_in_a_byte_a_weight(
    build: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    pictures = nn.functional.interpolate(torch.randn(64, 3, 12, 12), size=(SIDE, SIDE), mode="bilinear")
    network = build()
    with torch.no_grad():
        for _ in range(8):
            network(pictures[:32])
    prepared = prepare(network.eval(), (pictures[:2],), Rules(whole_int8=True))
    calibrate(prepared, [(pictures[:32],)])
    frozen = freeze(prepared)
    onnx_path, tflite_path = tmp_path / "m.onnx", tmp_path / "m.tflite"
    write_onnx(frozen, (pictures[:2],), onnx_path, form=FileForm(dynamic_batch=True))
    form = FileForm(input_layout="NHWC", input_type="int8", output_type="int8")
    write_tflite(frozen, (pictures[:1],), tflite_path, form=form)
    tflite = read_graph(tflite_path)
    weights = sum(parameter.numel() for parameter in network.parameters())
    tflite_file = open_file(tflite_path)
    answers = [file.answer([pictures[32:].numpy()])[0] for file in (open_file(onnx_path), tflite_file)]
    scale = tflite_file.outputs[0].scale

    assert scale is not None
    assert {tensor.dtype for tensor in tflite.tensors.values()} <= {"int8", "int32"}
    assert Counter(node.op for node in tflite.nodes)["TRANSPOSE"] == 0
    assert max(onnx_path.stat().st_size, tflite_path.stat().st_size) < 1.25 * weights
    assert (np.abs(answers[0] - answers[1]) <= 2.5 * scale).mean() >= 0.99
