"""Ranks: one training on several processes of this machine, by Lightning Fabric's DDP (Li et al. 2020, https://arxiv.org/abs/2006.15704).

Each rank takes its share of every batch; gradients are averaged after each step. Rank 0 judges, keeps checkpoints and is heard; the others learn
from it what it found, and end with its weights and buffers, so that all that follows is the same on each. With one rank nothing of this happens.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as group
from torch import Tensor, nn

from pipeline.batches import Batch, Evaluation
from pipeline.errors import TrainingError


def open_fabric(*, accelerator: str, devices: int, precision: str) -> Any:
    """Return Fabric, one of `devices` ranks where there are several; TrainingError where this machine can't."""
    from lightning_fabric import Fabric  # noqa: PLC0415  # takes seconds; a cached run doesn't pay
    from lightning_fabric.strategies import DDPStrategy  # noqa: PLC0415  # as above
    from lightning_fabric.utilities.exceptions import MisconfigurationException  # noqa: PLC0415  # as above

    # A loss may leave some weights alone, as a cut network's do.
    strategy = DDPStrategy(find_unused_parameters=True) if devices > 1 else "auto"
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision, strategy=strategy)
        if devices > 1:
            fabric.launch()
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"accelerator {accelerator!r} with precision {precision!r} and devices = {devices} can't be used here: "
            f"{' '.join(str(error).split())[:200]}; set accelerator = 'cpu', precision = '32-true', or fewer devices"
        ) from error
    return fabric


def agreed(found: Evaluation | None, fabric: Any) -> Evaluation:
    """Return what rank 0 found; the others give None."""
    if fabric.world_size == 1:
        assert found is not None
        return found
    numbers = [0.0] * 4 if found is None else [found.score, found.loss, found.error, float(found.higher_is_better)]
    told = torch.tensor(numbers, dtype=torch.float64, device=fabric.device)  # NCCL passes on nothing else
    group.broadcast(told, src=0)
    score, loss, error, higher = told.tolist()
    return Evaluation(score, loss, higher_is_better=bool(higher), error=error)


def average(value: float, fabric: Any) -> float:
    """Return the mean of what the ranks give."""
    if fabric.world_size == 1:
        return value
    return float(fabric.all_reduce(torch.tensor(value, dtype=torch.float64), reduce_op="mean"))


def average_gradients(module: nn.Module | None, fabric: Any) -> None:
    """Average the gradients of what is trained along, and isn't DDP's to average."""
    for parameter in module.parameters() if module is not None and fabric.world_size > 1 else ():
        if parameter.requires_grad:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = fabric.all_reduce(own, reduce_op="mean")


def take_over(tensors: Mapping[str, Tensor], fabric: Any) -> None:
    """Give every rank what rank 0 holds in these tensors; by name, since a file's tensors come in another order to each."""
    for name in sorted(tensors) if fabric.world_size > 1 else ():
        group.broadcast(tensors[name], src=0)


def share(batch: Batch, fabric: Any) -> Batch:
    """Return a rank's part of a batch: every so many of its samples."""
    if fabric.world_size == 1:
        return batch
    mine = slice(fabric.global_rank, None, fabric.world_size)
    inputs = tuple(value[mine] for value in batch.inputs)
    return replace(batch, inputs=inputs, targets=_part(batch.targets, mine), index=batch.index[mine])


def _part(targets: Any, mine: slice) -> Any:
    if isinstance(targets, tuple | list):
        return type(targets)(_part(each, mine) for each in targets)
    if isinstance(targets, dict):
        return {name: _part(each, mine) for name, each in targets.items()}
    return None if targets is None else targets[mine]
