"""`edgepress bench` as its user meets it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from devices.turns import read_turn
from pipeline.cli import app
from pipeline.errors import DeviceError, EdgepressError, ModelError
from tests.bench_files import write_endless_onnx, write_pool_onnx
from tests.small_files import samples, write_float_tflite, write_onnx, write_tflite

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_a_file_gets_a_table_with_all_that_makes_its_number_trustworthy(tmp_path: Path) -> None:
    result = bench(write_onnx(tmp_path / "m.onnx"), "--quick")

    assert result.exit_code == 0
    head, *_ = result.stdout.splitlines()
    assert "m.onnx on host: onnxruntime" in head
    assert "1 thread, 2 fresh processes" in head
    for told in (
        "latency",
        "load",
        "first inference",
        "peak memory",
        "median [range]",
        "p90",
        "p99",
        "drift",
        "measured",
    ):
        assert told in result.stdout
    assert "quick: too short" in result.stdout


@pytest.mark.parametrize("device", ["tflm", "host"])
def test_a_name_that_the_terminal_cannot_write_is_escaped(tmp_path: Path, device: str) -> None:
    model = write_tflite(tmp_path / "mö del.tflite")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    command = [EDGEPRESS, "bench", str(model), "--quick", "--device", device]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(rf"m\xf6 del.tflite on {device}: ")


def test_json_is_one_document_and_nothing_else(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    result = bench(model, "--quick", "--json", "--per-layer", "--threads", "2")

    document = json.loads(result.stdout)
    assert [each["quantity"] for each in document["measurements"]][:2] == ["latency", "load"]
    assert {each["threads"] for each in document["measurements"]} == {2}
    assert document["comparison"] is None
    assert any("times no layers" in note for note in document["notes"])


def test_the_second_call_measures_nothing_that_was_valid(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "m.tflite")

    first, again, fresh = (
        json.loads(bench(model, "--device", "tflm", "--json", *more).stdout) for more in ([], [], ["--fresh"])
    )

    assert first["measurements"] == again["measurements"]
    assert len(list((tmp_path / "store" / "observations").iterdir())) == 1
    [kept] = (tmp_path / "store" / "observations").iterdir()
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 2  # the first and the fresh one
    assert fresh["measurements"][0]["value"] == first["measurements"][0]["value"]


def test_two_copies_take_turns_and_show_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns(monkeypatch, a=[10.0, 11.0] * 6, b=[11.0, 10.0] * 6)

    result = bench(write_onnx(tmp_path / "a.onnx"), "--against", write_onnx(tmp_path / "b.onnx"))

    told = " ".join(result.stdout.split())
    assert "a.onnx against b.onnx: latency 10.50 us to 10.50 us" in told
    assert "99 % interval over 12 pairs of processes in turns: no difference shown" in told
    assert "median [95 %]" in told
    assert "both files hold the same bytes" in told


def test_a_file_that_is_faster_in_every_pair_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = [1.0, 1.5, 2.0, 9.0] * 3
    turns(monkeypatch, a=[10 * each for each in load], b=[20 * each for each in load])
    one, other = write_onnx(tmp_path / "a.onnx"), write_tflite(tmp_path / "b.tflite")

    text, document = bench(one, "--against", other), json.loads(bench(one, "--against", other, "--json").stdout)

    assert "median ratio of pairs 0.500 [0.500, 0.500]" in " ".join(text.stdout.split())
    assert "a.onnx is faster" in " ".join(text.stdout.split())
    assert document["comparison"]["verdict"] == "faster"
    assert document["comparison"]["confidence"] == 0.99
    assert document["comparison"]["interleaved"]


def test_a_machine_that_was_busy_shows_no_difference_whatever_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns(monkeypatch, a=[10.0] * 24, b=[20.0] * 24, share=0.5)

    result = bench(write_onnx(tmp_path / "a.onnx"), "--against", write_tflite(tmp_path / "b.tflite"))

    assert "no difference shown (the machine was busy in 12 of 12 processes" in " ".join(result.stdout.split())
    assert "INVALID latency of a.onnx" in result.stderr


def test_arenas_are_compared_without_a_clock(tmp_path: Path) -> None:
    small, large = write_tflite(tmp_path / "small.tflite"), write_float_tflite(tmp_path / "large.tflite")

    text = bench(small, "--against", large, "--device", "tflm")
    document = json.loads(bench(small, "--against", large, "--device", "tflm", "--json").stdout)

    assert "small.tflite takes less" in " ".join(text.stdout.split())
    assert document["comparison"]["verdict"] == "less"
    assert document["comparison"]["ratio"]["high"] < 1


def test_an_accelerator_is_estimated_and_refuses_a_float_file(tmp_path: Path) -> None:
    result = bench(write_tflite(tmp_path / "m.tflite"), "--target", "corstone-300", "--per-layer")

    assert "m.tflite on vela" in result.stdout
    for told in ("estimated", "cycles", "sram", "operators on the processor", "publishes no error", "Conv2D"):
        assert told in " ".join(result.stdout.split())
    refused = bench(write_float_tflite(tmp_path / "float.tflite"), "--target", "corstone-300")
    assert_refused(refused, DeviceError, "none of its operators runs on the Ethos-U55")


def test_each_operator_is_shown_where_the_runtime_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns(monkeypatch, m=[10.0] * 2)

    result = bench(write_onnx(tmp_path / "m.onnx"), "--quick", "--per-layer")

    assert "what each operator takes" in result.stdout
    assert "QLinearConv" in result.stdout


def test_a_disturbed_measurement_is_shown_and_fails_only_when_strict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns(monkeypatch, m=[10.0] * 8, share=0.5)
    model = write_tflite(tmp_path / "m.tflite")

    easy, strict = bench(model, "--quick"), bench(model, "--quick", "--strict")

    assert (easy.exit_code, strict.exit_code) == (0, 1)
    assert "measured, INVALID" in easy.stdout
    assert "edgepress: INVALID latency of m.tflite: the machine was busy in 2 of 2 processes" in easy.stderr


def test_open_sizes_are_asked_for_with_the_flag_to_give(tmp_path: Path) -> None:
    model = write_pool_onnx(tmp_path / "m.onnx")

    assert_refused(bench(model, "--quick"), DeviceError, "--shape x=1x2xNxN")
    document = json.loads(bench(model, "--quick", "--shape", "x=1x2x4x4", "--json").stdout)
    assert document["request"]["shapes"] == [["x", "1x2x4x4"]]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["none.onnx"], ModelError, "can't read model"),
        (["m.tflite", "--device", "hots"], DeviceError, "did you mean 'host'"),
        (["m.tflite", "--target", "toaster"], EdgepressError, "no target 'toaster'"),
        (["m.tflite", "--shape", "x=1xfoo"], ModelError, "write it as NAME=1x3x224x224"),
        (["m.tflite", "--shape", "x=0x3"], ModelError, "write it as NAME=1x3x224x224"),
        (["m.tflite", "--shape", "x=1x1", "--inputs", "x.npz"], ModelError, "leave out --shape"),
        (["m.tflite", "--inputs", "none.npz"], ModelError, "can't read .npz of inputs"),
        (["m.tflite", "--device", "vela"], DeviceError, "no target is given"),
        (["m.tflite", "--device", "vela", "--target", "raspberry-pi-4"], DeviceError, "raspberry-pi-4 has none"),
        (["m.tflite", "--against", "m.npz"], DeviceError, "host can't run m.npz"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], error: type[EdgepressError], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tflite(tmp_path / "m.tflite")
    np.savez(tmp_path / "m.npz", x=samples(1))

    assert_refused(bench(*arguments), error, told)


@pytest.mark.parametrize("verb", ["check", "bench"])
def test_a_sound_file_of_a_name_that_the_runtimes_cannot_open_is_not_called_broken(tmp_path: Path, verb: str) -> None:
    model = write_tflite(tmp_path / os.fsdecode(b"m\xe9.tflite"))

    assert_refused(CliRunner().invoke(app, [verb, str(model)]), ModelError, "take names in UTF-8 only; rename the file")


def test_a_model_that_hangs_ends_by_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devices.host.wall_seconds", lambda _: 3.0)

    assert_refused(bench(write_endless_onnx(tmp_path / "m.onnx"), "--quick"), DeviceError, "stopped after 3 s")


def test_all_of_it_works_without_torch_and_a_mistake_ends_with_2(tmp_path: Path) -> None:
    model = write_onnx(tmp_path / "m.onnx")
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['edgepress', 'bench', *sys.argv[1:]]\n"
        "from pipeline.cli import main; main()"
    )

    works, fails = (
        subprocess.run(
            [sys.executable, "-P", "-c", code, str(path), "--quick", "--per-layer"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "EDGEPRESS_STORE": str(tmp_path / "store")},
        )
        for path in (model, tmp_path / "none.onnx")
    )

    assert (works.returncode, fails.returncode) == (0, 2)
    assert "QLinearConv" in works.stdout
    assert fails.stderr.startswith("edgepress: can't read model")
    assert fails.stderr.count("\n") == 1


def turns(monkeypatch: pytest.MonkeyPatch, *, share: float = 1.0, **medians: list[float]) -> None:
    """Let the host's processes report these medians in turn, by the name of the file."""
    waiting = {name: iter(values) for name, values in medians.items()}

    def turn(model: Path, _: object) -> object:
        sample = next(waiting[model.stem])
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        told = {"samples_us": [sample] * 3, "cpu_over_wall": share, "neighbours_busy": 0.0, "model_sha256": digest}
        return read_turn(json.dumps({**told, "runtime": "onnxruntime", "runtime_version": "1"}), model)

    monkeypatch.setattr("devices.host._turn", turn)


def assert_refused(result: Result, error: type[EdgepressError], told: str) -> None:
    assert isinstance(result.exception, error)
    assert told in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""
