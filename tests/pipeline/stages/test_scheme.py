"""The choice between static and dynamic-range int8: where there is none, and that what costs less is what the files get."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices import Request
from pipeline.architecture import save_network
from pipeline.artifact import Artifact, open_artifact, write_manifest
from pipeline.networks.transformer import text_encoder
from pipeline.pour import pour
from pipeline.stages import export_tflite, quantize, scheme
from pipeline.stages.scheme import STAGE, SchemeConfig
from pipeline.task import LoadedTask
from pipeline.task_file import wrap_task
from targets import load_target
from tests.small_stages import make
from tests.small_task import bars
from tests.small_text import LENGTH, Sentences


def network(task: LoadedTask, folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    save_network(task.student(), folder, constructor="student", fresh=task.student())
    write_manifest(folder, "network", {})
    return open_artifact(folder)


def chosen(task: LoadedTask, folder: Path, **settings: Any) -> Artifact:
    return make(STAGE, task, folder / "scheme", {"network": network(task, folder / "network")}, **settings)


def test_a_network_that_is_int8_throughout_needs_no_measuring(tmp_path: Path) -> None:
    found = chosen(bars(), tmp_path).facts

    assert (found["scheme"], found["trials"]) == ("static_int8", [])
    assert found["why"] == "the network is int8 throughout"


def test_a_target_of_integers_has_no_choice(tmp_path: Path) -> None:
    poured = pour(load_target("corstone-300"))["scheme"]

    assert poured["integers_alone"]
    assert chosen(wrap_task(Sentences()), tmp_path, integers_alone=True).facts["scheme"] == "static_int8"


def test_what_is_poured_in_is_what_the_stage_takes() -> None:
    config = SchemeConfig.model_validate_json(json.dumps(pour(load_target("raspberry-pi-4"))["scheme"]))

    assert config.profile == load_target("raspberry-pi-4")
    assert config.tflite.input_layout == "NHWC"


def test_both_forms_are_measured_and_the_cheaper_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheme, "SHORT", Request(processes=2, warmup_seconds=0, min_seconds=0.02, min_runs=10))
    found = chosen(wrap_task(Sentences()), tmp_path).facts
    ratio = float(np.prod([trial["static_int8"] / trial["dynamic_int8"] for trial in found["trials"]]))

    assert [(trial["format"], trial["label"]) for trial in found["trials"]] == [
        ("onnx", "measured"),
        ("tflite", "measured"),
    ]
    assert found["scheme"] == ("dynamic_int8" if ratio > 1 else "static_int8")
    assert found["why"].startswith("dynamic costs less" if ratio > 1 else "static costs less")
    assert "onnx on host: latency" in found["why"]


def test_files_that_disagree_are_told_with_what_decides() -> None:
    onnx = scheme.Trial("onnx", "qemu", "instructions", "per inference", "emulated", 1800, 1000, "")
    tflite = scheme.Trial("tflite", "qemu", "latency", "us", "estimated", 290, 320, "")
    whole = "dynamic costs less on the whole (1.28 times, the geometric mean of the files): "

    assert scheme.in_words("dynamic_int8", [onnx, tflite]).startswith(
        f"{whole}onnx on qemu: instructions 1,800 static, 1,000"
    )
    assert scheme.in_words("dynamic_int8", [onnx]).startswith("dynamic costs less: onnx")
    assert scheme.in_words("static_int8", [tflite]).startswith("static costs less: tflite")


@pytest.mark.parametrize("form", ["static_int8", "dynamic_int8"])
def test_quantize_does_as_was_found(form: str, tmp_path: Path) -> None:
    task = wrap_task(Sentences())
    (tmp_path / "found").mkdir()
    write_manifest(tmp_path / "found", "scheme", {"scheme": form})
    given = {"network": network(task, tmp_path / "network"), "scheme": open_artifact(tmp_path / "found")}

    assert make(quantize.STAGE, task, tmp_path / "a", given, epochs=0).facts["scheme"] == form
    assert make(quantize.STAGE, task, tmp_path / "b", given, epochs=0, scheme="float16").facts["scheme"] == "float16"


def test_a_table_of_words_too_large_for_the_quantiser_s_own_pages_stays_in_the_file(tmp_path: Path) -> None:
    """ai-edge-quantizer puts large buffers behind the flatbuffer, where rewriting the file once lost them."""

    class Many(Sentences):
        def student(self) -> Any:
            return text_encoder(vocabulary=9000, width=16, heads=2, depth=1, feed_forward=32, length=LENGTH, classes=2)

    task = wrap_task(Many())
    made = make(quantize.STAGE, task, tmp_path / "q", {"network": network(task, tmp_path / "n")}, scheme="dynamic_int8")
    file = make(export_tflite.STAGE, task, tmp_path / "t", {"model": made}, input_type="float32").file("model.tflite")

    assert file.stat().st_size > 9000 * 16
