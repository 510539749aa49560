"""What a verb says to do next: a command that can be pasted, on stderr, while stdout stays as it was."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipeline.cli import ONLY_OF_RUN, app
from pipeline.recipe import DEFAULT_STAGES, Recipe, recipe_from
from pipeline.report.model import Report, Verdict
from pipeline.verbs.next_command import after_run, given
from tests.small_files import write_tflite
from tests.small_run import write_run

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
TARGET = "raspberry-pi-4"


def edgepress(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([EDGEPRESS, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def commands(told: str) -> list[list[str]]:
    lines = [line.removeprefix("next: ") for line in told.splitlines() if line.startswith("next: ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_a_check_that_fails_names_a_command_that_explains_it(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite")
    failed = edgepress(tmp_path, "check", "m.tflite", "--budget", "size_kib=0.1")
    [explain] = commands(failed.stderr)
    explained = edgepress(tmp_path, *explain)

    assert failed.returncode == 1
    assert "next:" not in failed.stdout
    assert explained.returncode == 0
    assert explained.stdout.startswith("budget-missed: ")


def test_a_check_against_a_baseline_says_how_to_accept_what_is(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite")
    (tmp_path / "edgepress.toml").write_text('schema = 1\nmodels = ["m.tflite"]\nbaseline = "baseline.json"\n')
    assert edgepress(tmp_path, "check", "--update-baseline").returncode == 0
    write_tflite(tmp_path / "m.tflite", transposed=True)
    failed = edgepress(tmp_path, "check")
    *_, accept = commands(failed.stderr)

    assert failed.returncode == 1
    assert edgepress(tmp_path, *accept).returncode == 0
    assert edgepress(tmp_path, "check").returncode == 0


def test_a_check_by_arguments_is_accepted_by_the_same_arguments(tmp_path: Path) -> None:
    write_tflite(tmp_path / "my model.tflite")
    arguments = ("my model.tflite", "--target", TARGET, "--budget", "size_kib=9", "--baseline", "my baseline.json")
    assert edgepress(tmp_path, "check", *arguments, "--update-baseline").returncode == 0
    write_tflite(tmp_path / "my model.tflite", transposed=True)
    failed = edgepress(tmp_path, "check", *arguments)
    *_, accept = commands(failed.stderr)

    assert failed.returncode == 1
    assert accept == ["check", *arguments, "--update-baseline"]
    assert edgepress(tmp_path, *accept).returncode == 0
    assert edgepress(tmp_path, "check", *arguments).returncode == 0


def test_what_could_not_be_accepted_is_not_offered_again(tmp_path: Path) -> None:
    write_tflite(tmp_path / "m.tflite")
    arguments = ("m.tflite", "--budget", "size_kib=0.1", "--baseline", "b.json", "--update-baseline")
    failed = edgepress(tmp_path, "check", *arguments)

    assert failed.returncode == 1
    assert commands(failed.stderr) == [["check", "--explain", "budget-missed"]]


def test_a_starter_in_a_folder_with_a_space_names_a_command_that_finds_it(tmp_path: Path) -> None:
    *_, now = edgepress(tmp_path, "init", "my leaves").stdout.splitlines()
    explained = edgepress(tmp_path, "explain", *shlex.split(now.removeprefix("now: edgepress run ")))

    assert explained.returncode == 0, explained.stderr


@pytest.mark.parametrize("form", ["json", "junit", "github", "markdown", "sarif"])
def test_a_form_for_machines_comes_without_advice(tmp_path: Path, form: str) -> None:
    write_tflite(tmp_path / "m.tflite")
    failed = edgepress(tmp_path, "check", "m.tflite", "--budget", "size_kib=0.1", "--format", form)

    assert (failed.returncode, failed.stderr) == (1, "")


@pytest.fixture
def made(tmp_path: Path) -> tuple[Recipe, Report, Path]:
    folder = write_run(tmp_path / "my runs")
    content = {"schema": 1, "name": "bars", "task": "task.py:task", "targets": [TARGET]}
    recipe = recipe_from(content, folder=tmp_path, where="here", stages=[*DEFAULT_STAGES])
    report = Report.model_validate(json.loads((folder / "report.json").read_text()) | {"fidelity": None})
    return recipe, report, folder.parent


def verdict(budget: str, outcome: str) -> Verdict:
    content = {"budget": budget, "limit": 1.0, "value": None, "label": None, "outcome": outcome, "why": "x"}
    return Verdict.model_validate(content)


def test_a_run_says_where_its_files_are_and_checks_them(
    made: tuple[Recipe, Report, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, report, out = made
    after_run(recipe, [report.model_copy(update={"verdicts": ()})], out, search=())
    told = capsys.readouterr()
    [check] = commands(told.err)

    assert told.out == ""
    assert f"model.tflite, model.onnx, report.md in {out / TARGET}" in told.err
    assert check == ["check", str(out / TARGET / "model.tflite"), "--target", TARGET]
    assert edgepress(out, *check).returncode in (0, 1)


def test_a_latency_that_is_open_asks_to_measure_that_very_file_and_a_missed_line_for_a_search(
    made: tuple[Recipe, Report, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, report, out = made
    verdicts = (verdict("latency_ms, int8 onnx", "not_shown"),)
    after_run(recipe, [report.model_copy(update={"verdicts": verdicts})], out, search=())
    *_, measure = commands(capsys.readouterr().err)
    missed = report.model_copy(update={"verdicts": (verdict("size_kib", "missed"),)})
    after_run(recipe, [missed], out, search=("my r.toml", "--set", "prune.keep_macs=0.3"))
    [search] = commands(capsys.readouterr().err)

    assert measure == ["bench", str(out / TARGET / "model.onnx"), "--target", TARGET, "--device", "SPEC"]
    assert edgepress(out, *measure[:-1], "tflm").stderr.startswith("edgepress: tflm ")
    assert search == ["fit", "my r.toml", "--set", "prune.keep_macs=0.3"]


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (["r.toml", "--out", "o 7", "--fresh"], ["r.toml", "--out", "o 7"]),
        (["--set", "a=1", "r.toml", "--set", "b=2"], ["r.toml", "--set", "a=1", "--set", "b=2"]),
        (["r.toml", "--no-strict", "--workers", "2", "--json"], ["r.toml", "--workers", "2", "--json"]),
    ],
)
def test_a_verb_repeats_the_arguments_that_it_was_given(said: list[str], heard: list[str]) -> None:
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]  # a group's
    context = run.make_context("run", said)

    assert given(context, leave_out=ONLY_OF_RUN) == heard
