"""The simulated program against both files, bit for bit."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.checks.answers import open_file
from pipeline.networks.dscnn import dscnn
from pipeline.quantization.integer import simulate
from pipeline.quantization.kernels import Runtime
from tests.both_files import BUILDERS, Case, frozen_program, shared_case

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "litert")


@pytest.fixture(scope="module", params=BUILDERS)
def case(request: pytest.FixtureRequest) -> Case:
    return shared_case(request.param)


def answers(case: Case, runtime: Runtime) -> NDArray[Any]:
    path = case.onnx if runtime == "onnxruntime" else case.tflite
    return open_file(path).answer([case.inputs.numpy()])[0]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_simulation_equals_the_file_bit_for_bit(case: Case, runtime: Runtime) -> None:
    program = simulate(case.frozen, runtime=runtime)

    assert program.inexact == ()
    np.testing.assert_array_equal(answers(case, runtime), program(case.inputs).numpy())


def test_simulating_leaves_the_frozen_program_as_it_is(case: Case) -> None:
    before = str(case.frozen.graph)
    simulate(case.frozen)

    assert before == str(case.frozen.graph)


class Unknown(nn.Module):
    """A GELU between two convolutions: it has no kernel here."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.last(nn.functional.gelu(self.first(x)))
        return found


def test_what_has_no_kernel_is_named_and_computed_as_in_the_frozen_program() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(100, 3, 16, 16)
    frozen = frozen_program(Unknown().eval(), inputs)
    program = simulate(frozen)

    expected, found = frozen(inputs).detach(), program(inputs)
    step = next(node.args[1] for node in reversed(frozen.graph.nodes) if "dequantize_per_tensor" in str(node.target))

    assert program.inexact == ("gelu",)
    assert ((expected - found).abs() / step).max() < 1.5


def test_a_simulated_program_runs_any_batch() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(64, 1, 28, 28)
    program = simulate(frozen_program(dscnn().eval(), inputs))

    torch.testing.assert_close(program(inputs)[:3], program(inputs[:3]), rtol=0, atol=0)
