"""The networks that people really have, at their full size: trained on digits at 96x96, then only quantised and exported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline import Metric, Splits
from pipeline.api import compress
from pipeline.task_file import wrap_task
from pipeline.tasks.digits import task as digits
from pipeline.training import TrainingConfig, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # torch's own deep copy of a graph
]
TRAIN, VALIDATION, TEST, EDGE = 1500, 250, 500, 96


def mobilenet_v2() -> nn.Module:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(num_channels=1, image_size=EDGE, num_labels=10)
    network: nn.Module = MobileNetV2ForImageClassification(config)
    return network


def efficientnet_b0() -> nn.Module:
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    # B0 by Tan and Le 2019, table 1; the library's defaults are B7's.
    sizes = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}
    config = EfficientNetConfig(num_channels=1, image_size=EDGE, num_labels=10, **sizes)
    network: nn.Module = EfficientNetForImageClassification(config)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # the library draws its weights around 0: 1e-30 is left after the last one
    return network


def resnet_18() -> nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    sizes = {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "embedding_size": 64, "layer_type": "basic"}
    network: nn.Module = ResNetForImageClassification(ResNetConfig(num_channels=1, num_labels=10, **sizes))
    return network


class Logits(nn.Module):
    """One of transformers' classifiers as a plain network: pictures [N, 1, 96, 96] to logits [N, 10]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Any:
        return self.network(pixel_values=pictures).logits


class Enlarged:
    """The first pictures of a split of digits, at 96x96."""

    def __init__(self, split: Any, count: int) -> None:
        # A stride mixes the classes whatever order they lie in.
        chosen = [split[index] for index in np.linspace(0, len(split) - 1, count).astype(int)]
        pictures = torch.stack([torch.as_tensor(picture) for picture, _ in chosen])
        self.pictures = F.interpolate(pictures, size=(EDGE, EDGE), mode="bilinear")
        self.labels = [label for _, label in chosen]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pictures[index], self.labels[index]


class LargeDigits:
    """Digits at 96x96, with a network whose trained weights lie in a file once they are there."""

    metric = Metric("accuracy")

    def __init__(self, name: str, build: Callable[[], nn.Module], weights: Path) -> None:
        self.name = name
        self.build = build
        self.weights = weights
        small = digits.data()
        self.splits = Splits(
            Enlarged(small.train, TRAIN), Enlarged(small.validation, VALIDATION), Enlarged(small.test, TEST)
        )

    def data(self) -> Splits:
        return self.splits

    def student(self) -> nn.Module:
        network = Logits(self.build())
        if self.weights.exists():
            network.load_state_dict(load_file(self.weights))
        return network

    def score(self, outputs: Any, targets: Any) -> float:
        return float((outputs.argmax(1) == targets).mean())


def trained(task: LargeDigits, folder: Path) -> LargeDigits:
    loaded = wrap_task(task)
    network = loaded.student()
    config = TrainingConfig(epochs=3, learning_rate=2e-3, batch_size=50, threads=2)
    train(
        network,
        lambda output, batch: loaded.loss(output, batch.targets),
        config,
        task=loaded,
        seed=0,
        scratch=folder,
        progress=lambda _: None,
    )
    save_file({name: value.clone().contiguous() for name, value in network.state_dict().items()}, task.weights)
    return task


@pytest.mark.parametrize("build", [mobilenet_v2, efficientnet_b0, resnet_18], ids=lambda build: build.__name__)
def test_a_trained_network_is_quantised_from_data_alone_and_passes_the_gate(
    build: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    task = trained(LargeDigits(build.__name__.replace("_", "-"), build, tmp_path / "weights.safetensors"), tmp_path)
    settings = {"stages": ["quantize", "export"], "quantize": {"epochs": 0}, "measure": False}

    report = compress(task, ["raspberry-pi-4"], tmp_path / "out", settings)["raspberry-pi-4"]

    gate, rows = report.fidelity, {row.stage: row for row in report.rows}
    print(gate, [(row.stage, row.score.value, row.size_bytes) for row in report.rows])
    assert gate is not None
    assert report.rows[0].score.value > 0.8, "the network never learned: its outputs mean nothing"
    assert gate.passed, gate.why_failed
    assert [file.float_ops for file in (gate.onnx, gate.tflite) if file is not None] == [0, 0]
    bytes_a_weight = [rows[file].size_bytes / (rows[file].parameters or 1) for file in ("int8 onnx", "int8 tflite")]
    assert max(bytes_a_weight) < 1.4
    assert report.drop["int8 tflite"].value < 0.02
