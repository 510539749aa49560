"""A process that works for long lets go of what it traced; torch alone doesn't."""

import gc
import linecache
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from pipeline.quantization.freeze import calibrate, freeze, prepare
from pipeline.quantization.rules import Rules
from pipeline.traces import forgotten

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def work() -> None:
    """Trace and quantise once, as a recipe does."""
    x = torch.randn(2, 1, 4, 4)
    prepared = prepare(Net().eval(), (x,), Rules())
    calibrate(prepared, [(x,)])
    freeze(prepared)


def alive() -> list[int]:
    """Return how many shape environments, graphs and sources of graphs there are."""
    gc.collect()
    kinds = [type(thing) for thing in gc.get_objects()]
    sources = sum(name.startswith("<eval_with_key>") for name in linecache.cache)
    return [*(sum(issubclass(found, kind) for found in kinds) for kind in (ShapeEnv, torch.fx.GraphModule)), sources]


@pytest.fixture(autouse=True)
def warm() -> Iterator[None]:
    """Have what is kept once and for all, or the last of its kind, kept already."""
    with forgotten():
        work()
    with forgotten():
        yield


def test_nothing_stays_of_what_was_traced() -> None:
    before = alive()
    for _ in range(2):
        with forgotten():
            work()
    assert alive() == before


def test_torch_alone_keeps_every_trace() -> None:
    """When this fails, torch and torchao have mended it, and `pipeline/traces.py` can go."""
    before = alive()
    for _ in range(2):
        work()
    assert all(now > then for now, then in zip(alive(), before, strict=True))


def test_a_trace_from_before_stays_whole() -> None:
    x = torch.randn(2, 1, 4, 4)
    network = Net().eval()
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: batch},))
    with forgotten():
        work()
    again = program.run_decompositions().module()
    torch.testing.assert_close(again(torch.ones(3, 1, 4, 4)), network(torch.ones(3, 1, 4, 4)))
