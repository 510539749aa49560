"""Files of networks that nobody trained: what a shape costs on a device doesn't depend on its numbers."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.quantization.form import FileForm
from pipeline.quantization.freeze import calibrate, freeze, freeze_ranges, prepare
from pipeline.quantization.rules import Rules
from pipeline.reproducible import conditions
from pipeline.stages.export_tflite import write_tflite


def write_untrained(
    network: nn.Module,
    example_inputs: tuple[Tensor, ...],
    batches: Iterable[tuple[Tensor, ...]],
    path: Path,
    *,
    rules: Rules,
    form: FileForm,
) -> None:
    """Write a network as an int8 TFLite file, its ranges found on `batches`."""
    prepared = prepare(network, example_inputs, rules)
    with conditions(threads=1, deterministic=True, accelerator="cpu"):
        calibrate(prepared, batches)
        freeze_ranges(prepared)
        program = freeze(prepared)
    write_tflite(program, example_inputs, path, form=form)


def as_if_trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give norms and biases numbers of their own: those of a fresh network are all alike, and equal constants share a place in the file."""
    numbers = torch.Generator().manual_seed(seed)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for tensor in tensors.values():
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=numbers))
    return network.eval()
