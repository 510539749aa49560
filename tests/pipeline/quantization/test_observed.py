"""A frozen program's activations, held against those of its own files."""

import numpy as np
import pytest
import torch

from pipeline.checks.layers import activations_of as of_file
from pipeline.checks.layers import compare_layers, first_divergence
from pipeline.quantization.observed import activations_of
from pipeline.quiet import copied
from tests.both_files import shared_case

SAMPLES = 4


@pytest.mark.parametrize(("form", "left_out"), [("onnx", set()), ("tflite", {"squeeze.dim"})])
def test_every_layer_of_a_program_is_found_in_its_files(form: str, left_out: set[str]) -> None:
    case = shared_case("dscnn")
    program = activations_of(case.frozen, [case.inputs[:SAMPLES]])

    layers = compare_layers(program, of_file(getattr(case, form), [case.inputs[:SAMPLES].numpy()]))

    # LiteRT's converter folds a squeeze into the layer behind it.
    assert [layer.first for layer in layers] == [made.name for made in program if made.operator not in left_out]
    assert layers[1].operator in ("Conv", "DEPTHWISE_CONV_2D")
    assert max(layer.max_lsb for layer in layers) <= 1
    assert np.mean([layer.equal for layer in layers]) > 0.999


def test_the_layer_whose_weights_differ_is_named() -> None:
    case = shared_case("dscnn")
    broken = copied(case.frozen)
    weight = [value for value in broken.parameters() if value.ndim == 4][2]
    with torch.no_grad():
        weight.mul_(0.5)

    program = activations_of(broken, [case.inputs[:SAMPLES]])
    layer = first_divergence(program, of_file(case.tflite, [case.inputs[:SAMPLES].numpy()]))

    assert layer is not None
    assert layer.max_lsb > 1
    assert (layer.operator, layer.first) == ("CONV_2D", program[3].name)
