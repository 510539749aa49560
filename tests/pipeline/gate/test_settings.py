"""edgepress.toml says what CI checks; the command line has the last word."""

from pathlib import Path

import pytest

from pipeline.checks.finding import Promises
from pipeline.errors import RecipeError
from pipeline.gate.settings import Changes, order_of, read_settings

FULL = """
schema = 1
models = ["build/*.tflite"]
targets = ["raspberry-pi-4"]
baseline = "base.json"
waivers = "waivers.toml"
reference = "teacher.onnx"
samples = "samples.npz"
[budget]
size_kib = 56
macs = 1000
[promise]
int8 = "all"
[[check]]
models = ["phone.onnx"]
targets = ["pixel-8", "my/board.toml"]
budget = { macs = 2000, latency_ms = 2.0 }
device = "qemu"
[check.devices]
pixel-8 = "adb"
"""


def project(path: Path, text: str) -> Path:
    (path / "build").mkdir()
    for name in ("build/b.tflite", "build/a.tflite", "phone.onnx", "other.onnx"):
        (path / name).write_bytes(b"x")
    file = path / "edgepress.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_groups_are_read_with_what_they_leave_out_from_the_top(tmp_path: Path) -> None:
    order = read_settings(project(tmp_path, FULL))
    top, phone = order.jobs

    assert [model.name for model in top.models] == ["a.tflite", "b.tflite"]
    assert (top.targets, top.places, top.promises) == (("raspberry-pi-4",), {}, Promises(int8="all"))
    assert (top.reference, top.samples) == (tmp_path / "teacher.onnx", tmp_path / "samples.npz")
    assert [model.name for model in phone.models] == ["phone.onnx"]
    assert phone.targets == ("pixel-8", str(tmp_path / "my/board.toml"))
    assert phone.budget == {"size_kib": 56.0, "macs": 2000.0, "latency_ms": 2.0}
    assert (phone.places, phone.reference, phone.promises) == (
        {"": "qemu", "pixel-8": "adb"},
        top.reference,
        top.promises,
    )
    assert (order.baseline, order.waivers) == (tmp_path / "base.json", tmp_path / "waivers.toml")


@pytest.mark.parametrize(("name", "targets"), [("phone.onnx", 2), ("build/a.tflite", 1), ("other.onnx", 1)])
def test_a_file_that_is_named_is_checked_as_its_group_says(tmp_path: Path, name: str, targets: int) -> None:
    [job] = read_settings(project(tmp_path, FULL), [tmp_path / name]).jobs

    assert (job.models, len(job.targets)) == ((tmp_path / name,), targets)


def test_the_command_line_has_the_last_word(tmp_path: Path) -> None:
    changes = Changes(("pixel-8",), {"macs": 5.0}, places={"": "host"}, baseline=tmp_path / "other.json")
    order = order_of([], project(tmp_path, FULL), changes)

    assert [job.targets for job in order.jobs] == [("pixel-8",), ("pixel-8",)]
    assert [job.budget["macs"] for job in order.jobs] == [5.0, 5.0]
    assert [job.budget["size_kib"] for job in order.jobs] == [56.0, 56.0]
    assert [job.places[""] for job in order.jobs] == ["host", "host"]
    assert (order.baseline, order.waivers) == (tmp_path / "other.json", tmp_path / "waivers.toml")


def test_the_file_in_the_working_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, FULL)
    monkeypatch.chdir(tmp_path)

    assert len(order_of([], None, Changes()).jobs) == 2


def test_without_a_file_models_are_checked_as_the_command_line_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [job] = order_of([Path("m.onnx")], None, Changes(("pixel-8",), {"macs": 5.0})).jobs

    assert (job.models, job.targets, job.budget) == ((Path("m.onnx"),), ("pixel-8",), {"macs": 5.0})


def test_without_a_file_or_a_model_there_is_nothing_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecipeError, match=r"no model named, and there is no edgepress\.toml here"):
        order_of([], None, Changes())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models = []", "key 'schema' is missing"),
        ("schema = 2\nmodels = ['phone.onnx']", "key 'schema'"),
        ("schema = 1", "names no models"),
        ("schema = 1\nmodels = ['none/*.onnx']", "no file fits models = 'none/*.onnx'"),
        ("schema = 1\nmodels = ['/etc/*']", "is no pattern of relative paths"),
        ("schema = 1\nmodels = ['']", "''"),
        ("schema = 1\nmodel = ['phone.onnx']", "unknown key 'model'; did you mean 'models'?"),
        ("schema = 1\nmodels = 'phone.onnx'", "key 'models'"),
        ("schema = 1\nmodels = ['phone.onnx']\n[budget]\nsize = 3", "no budget 'size'; did you mean 'size_kib'?"),
        ("schema = 1\nmodels = ['phone.onnx']\n[budget]\nsize_kib = 'big'", "budget.size_kib"),
        (
            "schema = 1\nmodels = ['phone.onnx']\n[promise]\nint = 'all'",
            "unknown key 'promise.int'; did you mean 'int8'?",
        ),
        (
            "schema = 1\n[[check]]\nmodels = ['phone.onnx']\ntarget = ['x']",
            "unknown key 'check.0.target'; did you mean 'targets'?",
        ),
        ("schema = 1\nmodels = ['phone.onnx']\nreference = 'r.onnx'", "reference and samples belong together"),
        ("schema = 1\nmodels = ['phone.onnx']\n[promise]\ninput_type = 'int8'", "key 'promise.int8' is missing"),
        ("schema = ", "is no TOML"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = project(tmp_path, text)

    with pytest.raises(RecipeError) as raised:
        read_settings(file)

    assert told in str(raised.value)
    assert str(file) in str(raised.value)
    assert "\n" not in str(raised.value)
