"""Quantised networks with random weights, as a frozen program and as both files."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from pipeline.networks.dscnn import dscnn
from pipeline.networks.mobilenet import mobilenet
from pipeline.networks.resnet import resnet8
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import calibrate, freeze, prepare
from pipeline.quantization.rules import Rules
from pipeline.stages.export_onnx import write_onnx
from pipeline.stages.export_tflite import write_tflite


class EveryOperation(nn.Module):
    """One of each operation that has a kernel: x [N, 3, 16, 16] to [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.padded = nn.Conv2d(3, 16, 3, 2)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.dilated = nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.squeezed = nn.Conv2d(32, 32, 1)
        self.row = nn.Conv1d(32, 16, 5, stride=2, padding="valid")
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.padded(nn.functional.pad(x, (0, 1, 0, 1))))
        a, b = nn.functional.hardswish(self.grouped(x)), self.dilated(x)
        x = torch.cat([a, b + nn.functional.relu(b)], 1)  # a clamp that can't be fused: b is read twice
        x = x * torch.sigmoid(self.squeezed(x.mean((2, 3), keepdim=True)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        x = self.row(x.flatten(2))
        logits: Tensor = self.head(x.mean(2))
        return logits


@dataclass(frozen=True)
class Case:
    """A frozen program, inputs [N, ...] for it, and its two files."""

    frozen: fx.GraphModule
    inputs: Tensor
    onnx: Path
    tflite: Path


BUILDERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "resnet8": (resnet8, (1, 28, 28)),
    "mobilenet": (mobilenet, (1, 28, 28)),
    "dscnn": (dscnn, (1, 28, 28)),
    "every operation": (EveryOperation, (3, 16, 16)),
}


FOLDER = tempfile.TemporaryDirectory(prefix="both-files-")


@functools.cache
def shared_case(name: str) -> Case:
    """Return a network's case, made once a test run."""
    folder = Path(FOLDER.name) / name.replace(" ", "-")
    folder.mkdir()
    return make_case(name, folder)


def make_case(name: str, folder: Path) -> Case:
    """Build, quantise and export a network of BUILDERS."""
    build, shape = BUILDERS[name]
    torch.manual_seed(0)
    inputs = torch.randn(300, *shape)
    frozen = frozen_program(trained_statistics(build(), inputs), inputs)
    case = Case(frozen, inputs, folder / "model.onnx", folder / "model.tflite")
    write_onnx(frozen, (inputs[:2],), case.onnx, form=FileForm(dynamic_batch=True))
    write_tflite(frozen, (inputs[:1],), case.tflite, form=FileForm(input_type="int8", output_type="int8"))
    return case


def frozen_program(module: nn.Module, inputs: Tensor) -> fx.GraphModule:
    """Quantise a module after training, with ranges from the inputs."""
    prepared = prepare(module, (inputs[:2],), Rules())
    calibrate(prepared, [(batch,) for batch in torch.split(inputs, 100)])
    return freeze(prepared)


def trained_statistics(module: nn.Module, inputs: Tensor) -> nn.Module:
    """Move what BatchNorm holds away from where it starts, so that folding it gives biases."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.bias, std=0.3)
    with torch.no_grad():
        for _ in range(20):
            module(inputs)
    return module.eval()
