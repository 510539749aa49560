from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.architecture import save_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.checks.answers import open_file
from pipeline.errors import ExportError
from pipeline.recorded_outputs import read_outputs
from pipeline.stages import export_onnx, export_tflite, outputs, quantize
from tests.small_stages import make
from tests.small_task import bars

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own deep copy of a graph


def network(folder: Path) -> Artifact:
    task = bars()
    folder.mkdir()
    save_network(task.student(), folder, constructor="student", fresh=task.student())
    write_manifest(folder, "network", {})
    return open_artifact(folder)


def quantised(folder: Path, **settings: Any) -> Artifact:
    return make(quantize.STAGE, bars(), folder / "q", {"network": network(folder / "net")}, **settings)


def test_without_epochs_it_only_calibrates(tmp_path: Path) -> None:
    artifact = quantised(tmp_path, epochs=0)

    assert artifact.kind == "quantized"
    assert artifact.facts["scheme"] == "static_int8"
    assert artifact.facts["float_layers"] == []
    assert "history" not in artifact.facts


def test_with_epochs_it_trains_and_says_how_it_went(tmp_path: Path) -> None:
    artifact = quantised(tmp_path, epochs=2, batch_size=30)

    assert len(artifact.facts["history"]) == 2
    assert 0 <= artifact.facts["validation_score"] <= 1


def test_equal_work_gives_equal_bytes(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.add(quantised(tmp_path / name, epochs=1, batch_size=30).digest)

    assert len(digests) == 1


def test_both_files_of_a_quantised_network_answer_as_it_does(tmp_path: Path) -> None:
    artifact = quantised(tmp_path, epochs=0)
    (mine,) = read_outputs(make(outputs.STAGE, bars(), tmp_path / "mine", {"model": artifact}, split="test"))
    onnx = make(export_onnx.STAGE, bars(), tmp_path / "o", {"model": artifact}).file("model.onnx")
    tflite = make(export_tflite.STAGE, bars(), tmp_path / "t", {"model": artifact}).file("model.tflite")
    pictures = np.stack([bars().splits.test[index][0] for index in range(40)])
    (one,), (other,) = (open_file(path).answer([pictures]) for path in (onnx, tflite))
    scale = open_file(tflite).outputs[0].scale

    assert scale is not None
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - mine[0]).max() <= 1.5 * scale


@pytest.mark.parametrize("scheme", ["float16", "dynamic_int8"])
def test_a_scheme_without_fixed_numbers_is_left_to_the_files(scheme: str, tmp_path: Path) -> None:
    artifact = quantised(tmp_path, scheme=scheme)
    (mine,) = read_outputs(make(outputs.STAGE, bars(), tmp_path / "mine", {"model": artifact}, split="test"))
    onnx = make(export_onnx.STAGE, bars(), tmp_path / "o", {"model": artifact}).file("model.onnx")
    pictures = np.stack([bars().splits.test[index][0] for index in range(40)])

    np.testing.assert_allclose(open_file(onnx).answer([pictures])[0], mine[0], atol=0.05)


def test_an_unknown_float_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no layer 'clasifier'"):
        quantised(tmp_path, epochs=0, rules={"float_layers": ("clasifier",)})
