"""A stranger's file is parsed and opened in a process that may die: what it had found by then stands."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devices.sandbox import Limits
from pipeline.checks import examine as examine_module
from pipeline.checks import judgement
from pipeline.checks.examine import examine
from pipeline.checks.judgement import judge_file
from pipeline.errors import ModelError
from tests.pipeline.checks.corpus import external
from tests.small_files import write_float_tflite, write_onnx, write_tflite

DYING = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("examiner", {examiner!r})
examiner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(examiner)
examiner.{stage} = lambda *_, **__: {end}
examiner.main(*sys.argv[1:])
"""


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Dying":
    return Dying(tmp_path, monkeypatch)


class Dying:
    """Puts an examiner in place that ends in one of its stages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script, self.monkeypatch = folder / "dying.py", monkeypatch

    def at(self, stage: str, end: str) -> None:
        self.script.write_text(DYING.format(examiner=str(examine_module.EXAMINER), stage=stage, end=end))
        self.monkeypatch.setattr(examine_module, "EXAMINER", self.script)


def test_a_file_that_crashes_its_runtime_is_judged_by_its_content(tmp_path: Path, dying: Dying) -> None:
    dying.at("_load", "os.kill(os.getpid(), signal.SIGSEGV)")

    found = judge_file(write_float_tflite(tmp_path / "m.tflite"))

    assert [(finding.code, finding.severity) for finding in found.findings] == [("does-not-load", "error")]
    assert "crashed with SIGSEGV" in found.findings[0].message
    assert found.facts["macs"] == 1164


def test_a_file_that_crashes_its_reader_is_refused_in_one_line(tmp_path: Path, dying: Dying) -> None:
    dying.at("_examine", "os.kill(os.getpid(), signal.SIGSEGV)")

    with pytest.raises(ModelError, match="the reader crashed with SIGSEGV") as caught:
        examine(write_tflite(tmp_path / "m.tflite"))
    assert "\n" not in str(caught.value)


def test_a_runtime_that_never_answers_is_ended(tmp_path: Path, dying: Dying) -> None:
    dying.at("_load", "[None for _ in iter(int, 1)]")

    examined = examine(write_tflite(tmp_path / "m.tflite"), limits=Limits(wall_seconds=20, cpu_seconds=4))

    assert examined.loaded is not None
    assert not examined.loaded.ok
    assert len(examined.graph.nodes) == 3


def test_a_file_beyond_the_limits_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")

    for limits in (Limits(wall_seconds=0.02), Limits(memory_mib=48)):
        with pytest.raises(ModelError, match="can't be read") as caught:
            examine(path, limits=limits)
        assert "\n" not in str(caught.value)


def test_weights_outside_the_folder_are_never_opened(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(288))

    assert examine(external("../weights.bin")(inside)).loaded is None


def test_weights_beside_the_model_are_opened(tmp_path: Path) -> None:
    loaded = examine(external("weights.bin", make=288)(tmp_path)).loaded

    assert loaded is not None
    assert loaded.ok


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 200])
def test_what_is_no_model_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)

    with pytest.raises(ModelError) as caught:
        judge_file(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_pipe_and_a_folder_are_no_models(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")

    for path in (tmp_path / "pipe.onnx", tmp_path, tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match="can't read model"):
            judge_file(path)


def test_two_judgements_of_one_file_are_equal(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    first = judge_file(path)

    assert first == judge_file(path)
    assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_said_too_often_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "MOST_OF_A_CODE", 1)

    found = judge_file(write_tflite(tmp_path / "m.tflite", transposed=True))

    assert [finding.code for finding in found.findings] == ["stray-transpose"]
    assert found.facts["findings_left_out"] == 1


def test_the_judge_imports_neither_a_runtime_nor_torch(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "m.onnx")
    code = (
        f"import sys, pathlib; from pipeline.checks.judgement import judge_file; judge_file(pathlib.Path({str(path)!r}))\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"
