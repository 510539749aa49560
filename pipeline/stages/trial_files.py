"""Trial files: int8 files that are written to be looked at on a target's device, and not shipped.

What a shape costs there doesn't depend on its numbers, so that most of them are of networks that nobody trained.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from devices import Device, open_device
from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import Prepared, calibrate, freeze, freeze_ranges, prepare
from pipeline.quantization.rules import Rules
from pipeline.reproducible import conditions
from pipeline.stage import StageConfig
from pipeline.stages.export_tflite import ExportTfliteConfig, write_tflite
from targets import Target


class TrialConfig(StageConfig):
    """What is poured in where a stage asks for costs: the file's form, the target's profile, the device that stands for it."""

    rules: Rules = Rules()
    tflite: ExportTfliteConfig = ExportTfliteConfig()
    device: Literal["host", "qemu", "vela"] = "host"
    profile: Target | None = None

    def open_device(self) -> Device:
        """Return the device."""
        return open_device(self.device, self.profile)


def calibrated(
    network: nn.Module, example_inputs: tuple[Tensor, ...], batches: Iterable[tuple[Tensor, ...]], rules: Rules
) -> Prepared:
    """Return a network with the ranges that `batches` give it, frozen."""
    prepared = prepare(network, example_inputs, rules)
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        calibrate(prepared, batches)
        freeze_ranges(prepared)
    return prepared


def write_untrained(
    network: nn.Module,
    example_inputs: tuple[Tensor, ...],
    batches: Iterable[tuple[Tensor, ...]],
    path: Path,
    *,
    rules: Rules,
    form: FileForm,
    seed: int = 0,
) -> None:
    """Write a network as an int8 TFLite file, its ranges found on `batches`; it is left in eval mode, with numbers as if trained."""
    prepared = calibrated(_as_if_trained(network, seed), example_inputs, batches, rules)
    write_tflite(freeze(prepared), example_inputs, path, form=form)


def _as_if_trained(network: nn.Module, seed: int) -> nn.Module:
    """Give norms and biases numbers of their own: those of a fresh network are all alike, and equal constants share a place in the file."""
    numbers = torch.Generator().manual_seed(seed)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=numbers))
    return network.eval()
