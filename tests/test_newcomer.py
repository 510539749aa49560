"""A newcomer's first hour: the starter's task and recipe, in an empty folder outside the checkout, through the command line."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
TARGET = "raspberry-pi-4"


@dataclass(frozen=True)
class Place:
    """A folder with the starter's files, already run once for one target."""

    folder: Path
    first_run: subprocess.CompletedProcess[str]

    @property
    def out(self) -> Path:
        return self.folder / "out" / TARGET


def edgepress(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [EDGEPRESS, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("newcomer")
    assert edgepress(folder, "init", ".").returncode == 0
    return Place(folder, edgepress(folder, "run", "recipe.toml", "--out", "out"))


def report(place: Place) -> dict[str, object]:
    found: dict[str, object] = json.loads((place.out / "report.json").read_text())
    return found


def test_the_starter_runs_to_both_files_and_keeps_its_promises(place: Place) -> None:
    assert place.first_run.returncode == 0, place.first_run.stderr + place.first_run.stdout
    assert {path.name for path in place.out.iterdir()} == {
        *("model.onnx", "model.tflite", "report.json", "report.md", "manifest.json")
    }


def test_both_files_are_int8_throughout_and_equal(place: Place) -> None:
    fidelity = report(place)["fidelity"]

    assert isinstance(fidelity, dict)
    assert (fidelity["passed"], fidelity["scales_equal"]) == (True, True)
    assert (fidelity["onnx"]["float_ops"], fidelity["tflite"]["float_ops"]) == (0, 0)
    assert fidelity["onnx_tflite"]["equal"] >= 0.999


def test_every_digest_in_the_manifest_is_that_of_the_file(place: Place) -> None:
    manifest = json.loads((place.out / "manifest.json").read_text())

    found = {name: hashlib.sha256((place.out / name).read_bytes()).hexdigest() for name in manifest["files"]}
    assert manifest["files"] == found


def test_what_the_run_left_is_packed_and_passes(place: Place) -> None:
    packed = edgepress(place.folder, "pack", f"out/{TARGET}", "--out", "starter.edgepress")
    verified = edgepress(place.folder, "verify", "starter.edgepress")

    assert (packed.returncode, verified.returncode) == (0, 0), packed.stderr + verified.stdout
    with zipfile.ZipFile(place.folder / "starter.edgepress") as archive:
        assert all(str(place.folder).encode() not in archive.read(name) for name in archive.namelist())
        card = archive.read("README.md").decode()
    assert "taught by wide." in card


def test_a_packed_recipe_runs_again_beside_its_task_and_finds_everything_made(place: Place) -> None:
    edgepress(place.folder, "pack", f"out/{TARGET}", "--out", "again.edgepress")
    with zipfile.ZipFile(place.folder / "again.edgepress") as archive:
        (place.folder / "packed-recipe.toml").write_bytes(archive.read("recipe.toml"))

    explained = edgepress(place.folder, "explain", "packed-recipe.toml")

    assert explained.returncode == 0, explained.stderr
    assert "distill" in explained.stdout
    assert "will run" not in explained.stdout


def test_a_second_run_makes_nothing(place: Place) -> None:
    again = edgepress(place.folder, "run", "recipe.toml", "--out", "again", "--set", "measure=false")

    made = [line for line in again.stderr.splitlines() if " s  " in line]
    assert (again.returncode, made) == (0, [])


def test_explain_finds_every_step_cached_and_a_changed_setting_by_name(place: Place) -> None:
    same = edgepress(place.folder, "explain", "recipe.toml").stdout
    changed = edgepress(place.folder, "explain", "recipe.toml", "--set", "prune.keep_macs=0.7").stdout

    assert "will run" not in same
    lines = {line.split()[1]: line for line in changed.splitlines()}
    assert lines["distill"].endswith("cached")
    assert lines["prune"].endswith("will run: config.keep_macs")


def test_a_changed_comment_leaves_everything_cached(place: Place) -> None:
    source = place.folder / "task.py"
    before = source.read_text()
    source.write_text("# a comment\n" + before.replace("class BrightestQuarter:", "class BrightestQuarter:  # another"))

    explained = edgepress(place.folder, "explain", "recipe.toml").stdout

    source.write_text(before)
    assert "will run" not in explained


def test_a_changed_student_leaves_the_teacher_cached(place: Place) -> None:
    source = place.folder / "task.py"
    before = source.read_text()
    source.write_text(before.replace("return network(32)", "return network(24)"))

    explained = edgepress(place.folder, "explain", "recipe.toml").stdout

    source.write_text(before)
    lines = {line.split()[1]: line for line in explained.splitlines()}
    assert lines["teach:wide"].endswith("cached")
    assert "task.student" in lines["distill"]


def test_a_pruned_network_answers_the_same_in_a_new_process(place: Place) -> None:
    code = (
        "import hashlib; from pathlib import Path; import torch\n"
        "from pipeline.artifact import open_artifact; from pipeline.architecture import load_network\n"
        "from pipeline.task_file import load_task\n"
        "task = load_task('task.py:task', relative_to=Path())\n"
        "folders = [open_artifact(path) for path in sorted(Path('.edgepress/objects').iterdir())]\n"
        "pruned = [found for found in folders if found.kind == 'network' and 'wanted_macs' in found.facts]\n"
        "torch.set_num_threads(1); torch.manual_seed(0); inputs = torch.randn(64, 1, 16, 16)\n"
        "for artifact in pruned:\n"
        "    with torch.inference_mode(): answers = load_network(artifact, task).eval()(inputs)\n"
        "    print(artifact.digest, hashlib.sha256(answers.numpy().tobytes()).hexdigest())\n"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], cwd=place.folder, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )

    assert first
    assert first == second


def test_no_output_holds_a_pickle_or_a_path_of_this_machine(place: Place) -> None:
    files = [
        *place.out.iterdir(),
        *(path for path in (place.folder / ".edgepress/objects").rglob("*") if path.is_file()),
    ]
    paths = [str(place.folder).encode(), str(Path(__file__).parent.parent).encode(), str(Path.home()).encode() + b"/"]

    named = [path.name for path in files if any(text in path.read_bytes() for text in paths)]
    zipped = [path.name for path in files if zipfile.is_zipfile(path)]
    pickled = [
        path.name for path in files if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    ]
    assert (named, zipped, pickled) == ([], [], [])


def test_a_second_target_shares_the_stages_that_ask_the_same(place: Place) -> None:
    both = edgepress(
        place.folder, "run", "recipe.toml", "--out", "out", "--target", "pixel-8", "--set", "measure=false"
    )

    lines = {line.split()[0]: line for line in both.stderr.splitlines() if line.strip()}
    assert both.returncode in (0, 1), both.stderr
    assert "cached" in lines["teach:wide"]
    assert "cached" in lines["distill"]
