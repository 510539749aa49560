"""Files of one network agree across formats and layouts; what doesn't agree is found, by limits or without any."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.checks.graph import Graph, read_graph
from pipeline.errors import ModelError
from pipeline.gate import agreement as module
from pipeline.gate.agreement import MismatchError, agree, agreement_findings, defaults, figures, paired_interval, wilson
from pipeline.gate.budget import judge
from pipeline.gate.samples import read_samples
from pipeline.gate.verdict import Accuracy, Agreement, OutputAgreement
from tests.small_files import INPUT, samples, write_float_onnx, write_float_tflite, write_tflite

Array = NDArray[Any]
COUNT = 24


def compared(model: Path, reference: Path, inputs: Array | None = None, **more: Array) -> Agreement:
    file = model.parent / "samples.npz"
    np.savez(file, x=samples(COUNT) if inputs is None else inputs, allow_pickle=False, **more)
    return agree(model, reference, read_samples(file), reference_name=reference.name)


def outputs(ours: Array, theirs: Array) -> Agreement:
    """Compare answers without running anything; the file has a float output."""
    with tempfile.TemporaryDirectory() as folder:
        graph = read_graph(write_float_onnx(Path(folder) / "m.onnx"))
    return Agreement("reference.onnx", len(ours), "", (module._compared(graph, 0, ours, theirs),), None)


def graph_of(form: Literal["onnx", "tflite"]) -> Graph:
    return Graph(Path("m"), form, 1, (), {}, ("x",), ("y",))


def test_an_integer_file_agrees_with_the_float_one_that_it_was_made_from(tmp_path: Path) -> None:
    found = compared(write_tflite(tmp_path / "m.tflite"), write_float_onnx(tmp_path / "reference.onnx"))

    [output] = found.outputs
    assert (found.samples, found.reference) == (COUNT, "reference.onnx")
    assert output.argmax_agreement == 1.0
    assert output.within_1_lsb > 0.9  # the rest is what the small network's ranges cut off
    assert output.explained is not None
    assert output.explained > 0.95
    assert [(each.code, each.severity) for each in agreement_findings(found, {})] == [("reference-unjudged", "warning")]


def test_channels_last_samples_reach_a_file_with_channels_first(tmp_path: Path) -> None:
    model, reference = write_float_tflite(tmp_path / "m.tflite"), write_float_onnx(tmp_path / "reference.onnx")
    found = compared(model, reference, np.moveaxis(samples(COUNT), 1, -1))

    assert found.outputs[0].equal == 1.0
    assert found.outputs[0].max_lsb < 0.5


def test_integer_samples_go_in_as_they_are(tmp_path: Path) -> None:
    tensor = read_graph(write_tflite(tmp_path / "m.tflite"))
    raw = np.random.default_rng(0).integers(-128, 128, (COUNT, 4, 4, 2)).astype(np.int8)

    assert np.array_equal(module._fitted(tensor, "x", raw), raw)


def test_float_samples_are_quantised_by_the_input_s_scale(tmp_path: Path) -> None:
    graph = read_graph(write_tflite(tmp_path / "m.tflite"))
    given = module._fitted(graph, "x", samples(COUNT))

    expected = np.rint(np.moveaxis(samples(COUNT), 1, -1) / np.float32(INPUT[0])) + INPUT[1]
    assert given.dtype == np.int8
    assert np.array_equal(given, expected.astype(np.int8))


def test_another_network_is_found_out_without_any_limit() -> None:
    theirs = np.random.default_rng(0).standard_normal((COUNT, 3))

    assert [(each.code, each.severity) for each in agreement_findings(outputs(-theirs, theirs), {})] == [
        ("reference-unlike", "error")
    ]


def test_a_limit_takes_the_place_of_the_default_judgement() -> None:
    theirs = np.random.default_rng(0).standard_normal((COUNT, 3))

    assert agreement_findings(outputs(-theirs, theirs), {"max_lsb": 2.0}) == ()


def test_a_file_that_gives_shares_is_judged_by_its_decisions() -> None:
    shares = np.random.default_rng(0).dirichlet([1, 1, 1, 1], 50)
    found = outputs(shares, shares)

    assert found.outputs[0].classes
    assert defaults(found, {"size_kib": 3.0}) == {"size_kib": 3.0, "min_argmax": 0.99}
    assert defaults(found, {"max_lsb": 3.0}) == {"max_lsb": 3.0}


def test_a_file_that_gives_plain_numbers_is_not_taken_for_a_classifier() -> None:
    boxes = np.random.default_rng(0).standard_normal((50, 4))

    assert defaults(outputs(boxes, boxes), {}) == {}


def test_numbers_that_the_file_lost_are_an_error() -> None:
    theirs = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = outputs(np.array([[1.0, np.nan], [3.0, 4.0]]), theirs)

    assert [each.code for each in agreement_findings(found, {"max_lsb": 5.0})] == ["reference-not-finite"]


def test_what_is_no_number_in_both_agrees() -> None:
    both = np.array([[1.0, np.nan], [np.inf, -np.inf]])

    assert (outputs(both, both).outputs[0].equal, outputs(both, both).outputs[0].max_lsb) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "forms", "alike"),
    [
        ((5, 3), (5, 3), ("onnx", "onnx"), (5, 3)),
        ((5, 3, 1, 1), (5, 3), ("onnx", "onnx"), (5, 3)),
        ((5, 8, 9, 3), (5, 3, 8, 9), ("tflite", "onnx"), (5, 3, 8, 9)),
        ((5, 3, 8, 9), (5, 8, 9, 3), ("onnx", "tflite"), (5, 3, 8, 9)),
        ((5, 8, 9, 3), (5, 8, 9, 3), ("tflite", "tflite"), (5, 3, 8, 9)),
    ],
)
def test_answers_are_laid_out_alike(
    ours: tuple[int, ...], theirs: tuple[int, ...], forms: tuple[Any, Any], alike: tuple[int, ...]
) -> None:
    pair = module._alike(np.zeros(ours), np.zeros(theirs), (graph_of(forms[0]), graph_of(forms[1])), 0)

    assert [each.shape for each in pair] == [alike, alike]


@pytest.mark.parametrize(("ours", "theirs"), [((5, 4), (5, 3)), ((5, 3, 4), (5, 12)), ((5, 8, 9, 3), (5, 3, 8, 9))])
def test_outputs_of_other_shapes_are_a_mismatch(ours: tuple[int, ...], theirs: tuple[int, ...]) -> None:
    with pytest.raises(MismatchError, match="the reference's is"):
        module._alike(np.zeros(ours), np.zeros(theirs), (graph_of("onnx"), graph_of("onnx")), 0)


def test_samples_of_another_shape_are_told(tmp_path: Path) -> None:
    model = write_float_onnx(tmp_path / "m.onnx")

    with pytest.raises(ModelError, match=r"input 'x' of .*m\.onnx is \[N, 2, 4, 4\], the samples are \[24, 5\]"):
        module._fitted(read_graph(model), "x", np.zeros((24, 5), np.float32))


@pytest.mark.parametrize(
    ("takes", "gives", "told"),
    [
        (TensorProto.STRING, TensorProto.FLOAT, "input 'x' is string"),
        (TensorProto.BFLOAT16, TensorProto.FLOAT, "input 'x' is bfloat16"),
        (TensorProto.FLOAT, TensorProto.STRING, "output 'y' is string"),
    ],
)
def test_what_takes_or_gives_no_numbers_is_told_in_one_line(tmp_path: Path, takes: int, gives: int, told: str) -> None:
    x, y = (helper.make_tensor_value_info(name, kind, ["n", 2, 4, 4]) for name, kind in (("x", takes), ("y", gives)))
    graph = helper.make_graph([helper.make_node("Cast", ["x"], ["y"], to=gives)], "cast", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")

    with pytest.raises(ModelError, match=told) as raised:
        compared(tmp_path / "m.onnx", tmp_path / "m.onnx")
    assert "\n" not in str(raised.value)


def test_as_many_arrays_as_inputs_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    np.savez(file, x=samples(COUNT), z=np.zeros((24, 5)))

    with pytest.raises(ModelError, match="takes 1 inputs"):
        module._given(read_graph(write_float_onnx(tmp_path / "m.onnx")), read_samples(file))


def test_the_interval_of_a_drop_is_the_published_one() -> None:
    # Fagerland, Lydersen and Laake, "Recommended tests and confidence intervals for paired binomial proportions", Statistics in
    # Medicine 33 (2014): 1 and 7 of 21 pairs disagree; Tango's interval is -0.517 to -0.026.
    low, high = paired_interval(1, 7, 21)

    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize("won", [0, 1])
def test_a_drop_is_shown_only_by_as_many_samples_as_it_takes(won: int) -> None:
    highs = [paired_interval(0, won, count)[1] for count in (3, 20, 200, 2000)]

    assert highs == sorted(highs, reverse=True)
    assert highs[2] > 0.01 > highs[3] > 0


def test_accuracy_is_that_of_the_labels() -> None:
    ours = np.eye(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    found = module._accuracy(ours, -ours, np.array([0, 1, 2, 3, 0, 1, 2, 0]))

    assert (found.value, found.reference, found.drop) == (0.875, 0.125, -0.75)
    assert found.drop_low < -0.75 < found.drop_high


def test_labels_for_an_output_without_classes_are_told() -> None:
    with pytest.raises(ModelError, match="labels need an output"):
        module._accuracy(np.zeros((5, 2, 4, 4)), np.zeros((5, 2, 4, 4)), np.zeros(5, np.int64))


def test_the_worst_output_is_judged() -> None:
    good = OutputAgreement("good", 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, classes=False)
    bad = replace(good, name="bad", max_lsb=7.0, argmax_agreement=0.5)
    found = Agreement("r.onnx", 1000, "", (good, bad), Accuracy(0.9, 0.95, 0.05, 0.03, 0.07))
    limits = {"max_lsb": 6.0, "min_argmax": 0.9, "max_drop": 0.02, "min_accuracy": 0.95}

    assert {line.budget: line.outcome for line in judge(limits, figures(found))} == dict.fromkeys(limits, "missed")


def test_wilson_s_interval_is_the_published_one() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), table I:
    # 81 of 263 gives 0.2553 to 0.3662 by Wilson's score method.
    low, high = wilson(81 / 263, 263)

    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson(1.0, 10)[1] == 1.0
