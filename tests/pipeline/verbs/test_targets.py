"""`edgepress targets` as its user meets it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import targets as profiles
from pipeline.cli import app
from pipeline.errors import EdgepressError, TargetError
from targets import describe, known_targets, load_target
from targets.summary import TELLS, latency, measured_with, size, summary
from tests.small_files import write_onnx, write_tflite

NARROW = {**os.environ, "COLUMNS": "90", "TERM": "xterm"}


def targets(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["targets", *map(str, arguments)])


def test_the_list_has_every_target_once_with_what_helps_to_choose() -> None:
    result = targets()
    lines = result.stdout.splitlines()

    assert result.exit_code == 0
    for name in known_targets():
        assert sum(line.split()[:1] == [name] for line in lines) == 1, name
    phone = next(line for line in lines if line.startswith("pixel-8 "))
    for told in ("Google Pixel 8", "1x X3@2914", "8 GiB", "i8mm dotprod", "litert onnxruntime", "adb measured"):
        assert told in phone
    assert all(any(line.startswith(word) for line in lines) for word in TELLS)
    board = next(line for line in lines if line.startswith("raspberry-pi-4 "))
    assert board.split()[-9:] == ["3.06", "ssh", "measured,", "qemu", "estimated", "-39", "to", "+63", "%"]


def test_a_narrow_terminal_keeps_what_decides() -> None:
    code = "import sys; sys.stdout.isatty = lambda: True; from pipeline.cli import app; app(['targets'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=NARROW)
    lines = re.sub(r"\x1b\[[\d;]*m", "", done.stdout).splitlines()

    assert done.returncode == 0, done.stderr
    assert max(map(len, lines[: lines.index("")])) <= 90
    assert not any("Google Pixel 8" in line for line in lines)
    assert any(line.startswith("pixel-8 ") and "adb measured" in line for line in lines)


def test_what_a_device_tells_is_a_word_that_the_list_explains() -> None:
    told = {word for name in known_targets() for word in latency(load_target(name)).values()}

    assert {word.split()[0] for word in told} == set(TELLS)


def test_the_list_as_json_is_one_document() -> None:
    rows = json.loads(targets("--json").stdout)

    assert [row["name"] for row in rows] == list(known_targets())
    model = next(row for row in rows if row["name"] == "corstone-300")
    assert model["measured_with"] == ["vela", "tflm"]
    assert model["latency"] == {"vela": "estimated", "tflm": "memory"}
    assert (model["formats"], model["active_w"]) == (["tflite"], None)


def test_one_target_is_explained_with_the_source_of_each_fact() -> None:
    shown = targets("raspberry-pi-5").stdout

    assert shown.startswith("raspberry-pi-5: Raspberry Pi 5, a board")
    for what, value, source in describe(load_target("raspberry-pi-5")):
        line = next(line for line in shown.splitlines() if line.startswith(f"{what} "))
        assert line.removeprefix(what).strip().startswith(value)
        assert line.endswith(source)
    assert "not published" in targets("pixel-8").stdout
    assert "--device qemu" in shown


def test_one_target_as_json_holds_the_numbers_and_their_sources() -> None:
    record = json.loads(targets("raspberry-pi-5", "--json").stdout)
    clock = record["cores"][0]["clock_mhz"]

    assert clock["value"] == 2400
    assert record["sources"][clock["source"]].endswith("bcm2712.adoc")
    assert record["measured_with"] == ["qemu", "ssh"]


def test_a_users_own_profile_is_shown_by_its_path(tmp_path: Path) -> None:
    text = (Path(profiles.__file__).parent / "pixel-8.toml").read_text(encoding="utf-8")
    path = tmp_path / "my boards" / "mine.toml"
    path.parent.mkdir()
    path.write_text(text.replace('"pixel-8"', '"mine"').replace("Google Pixel 8", "My [bold] board"), encoding="utf-8")

    shown = targets(path).stdout
    *_, advice = shown.splitlines()

    assert "mine: My [bold] board, a phone" in shown
    assert advice == f"next: edgepress run RECIPE --target '{path}'; edgepress targets '{path}' --fits MODEL"


def test_a_file_that_fits_ends_with_0_and_one_that_does_not_with_1(tmp_path: Path) -> None:
    model = write_tflite(tmp_path / "a model.tflite")
    good = targets("nucleo-l4r5zi", "--fits", model)
    bad = targets("nucleo-l4r5zi", "--json", "--fits", write_onnx(tmp_path / "m.onnx"))

    assert good.exit_code == 0
    assert "a model.tflite on nucleo-l4r5zi: fits, as far as is known" in good.stdout
    assert f"edgepress bench '{model}' --target nucleo-l4r5zi --device tflm" in good.stdout
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["fits"] is False


@pytest.mark.parametrize(
    ("arguments", "kind", "answer"),
    [
        (("pixel8",), TargetError, "did you mean 'pixel-8'"),
        (("--fits", "m.onnx"), EdgepressError, "--fits m.onnx needs a target's name"),
        (("pixel-8", "--fits", "none.onnx"), EdgepressError, "can't read model none.onnx"),
        (("none.toml",), TargetError, "no target profile none.toml"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(arguments: tuple[str, ...], kind: type, answer: str) -> None:
    result = targets(*arguments)

    assert isinstance(result.exception, kind)
    assert answer in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_an_output_that_finds_no_room_is_one_line(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:  # refuses every byte, as a full disk does
        command = [str(Path(sys.executable).with_name("edgepress")), "targets", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        "edgepress: no room to write the output, or a temporary file (No space left on device); free some space there, then run again\n"
    )


def test_listing_and_explaining_load_no_heavy_library() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom pipeline.cli import app\n"
        "for words in (['targets'], ['targets', 'pixel-8'], ['targets', '--json']):\n"
        "    assert CliRunner().invoke(app, words).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'onnx', 'onnxruntime', 'ai_edge_litert') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


def test_a_target_is_measured_with_what_its_profile_has() -> None:
    assert measured_with(load_target("iphone-15")) == ()
    assert measured_with(load_target("imx93-evk")) == ("vela", "ssh")
    assert measured_with(load_target("nucleo-l4r5zi")) == ("tflm",)


def test_what_is_not_published_is_a_question_mark_in_a_summary() -> None:
    anything = summary(load_target("android-arm64"))

    assert (anything.cores, anything.memory) == ("Armv8-A@?", "?")


@pytest.mark.parametrize(
    ("kib", "words"), [(0.5, "0.5 KiB"), (640, "640 KiB"), (1536, "1.5 MiB"), (8 * 2**20, "8 GiB")]
)
def test_sizes_are_said_as_people_say_them(kib: float, words: str) -> None:
    assert size(kib) == words
