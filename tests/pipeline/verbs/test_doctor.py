"""`edgepress doctor`, as a user types it, in environments that are wrong in one way each."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipeline.doctor import machine
from pipeline.doctor.machine import read_quota
from pipeline.doctor.packages import ADDS, FOR_DEVELOPERS

EDGEPRESS = str(Path(sys.executable).with_name("edgepress"))
ROOT = Path(__file__).parents[3]


def doctor(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder; `first` and `last` are what stands before and behind our own code on the path."""
    path = [environment.pop("first", ""), str(ROOT), environment.pop("last", "")]
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment}
    return subprocess.run(
        [EDGEPRESS, "doctor", *arguments], cwd=folder, env=given, capture_output=True, text=True, check=False
    )


def findings(folder: Path, **environment: str) -> dict[str, dict[str, Any]]:
    done = doctor(folder, "--json", **environment)
    told = json.loads(done.stdout)
    found = {each["about"]: each for each in told["findings"]}
    wrong = any(each["verdict"] == "wrong" for each in told["findings"])
    assert (done.returncode, told["passed"], done.stderr) == ((1, False, "") if wrong else (0, True, ""))
    return found


def install(folder: Path, name: str, version: str, *lines: str, record: str = "") -> str:
    """Lay a distribution's metadata into a folder, as pip does, and return the folder."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    (info / "METADATA").write_text(text + "\n", encoding="utf-8")
    (info / "RECORD").write_text(record, encoding="utf-8")
    return str(folder)


def package(folder: Path, name: str) -> str:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise RuntimeError('not ours')\n", encoding="utf-8")
    return str(folder)


def test_nothing_is_wrong_here_and_nothing_is_made(tmp_path: Path) -> None:
    done = doctor(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing is wrong"
    assert list(tmp_path.iterdir()) == []


def test_a_version_outside_our_range_is_wrong_and_the_right_one_is_named(tmp_path: Path) -> None:
    done = doctor(tmp_path, first=install(tmp_path / "old", "numpy", "1.26.4"))
    found = findings(tmp_path, first=str(tmp_path / "old"))

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("wrong: numpy")
    assert (found["numpy"]["found"], found["numpy"]["verdict"]) == ("1.26.4", "wrong")
    assert "packages" not in found


def test_a_version_that_a_package_of_ours_refuses_is_wrong(tmp_path: Path) -> None:
    found = findings(tmp_path, first=install(tmp_path / "old", "protobuf", "3.1"))

    assert found["protobuf"]["verdict"] == "wrong"
    assert "needs protobuf>=" in found["protobuf"]["advice"]


def test_what_the_light_install_lacks_is_wrong_and_what_an_extra_lacks_is_a_note(tmp_path: Path) -> None:
    asks = ("Requires-Dist: nowhere>=3", "Provides-Extra: boards", 'Requires-Dist: nobody>=1; extra == "boards"')
    found = findings(tmp_path, first=install(tmp_path / "ours", "edgepress", "9.9", *asks))

    assert (found["nowhere"]["found"], found["nowhere"]["verdict"]) == ("not installed", "wrong")
    assert found["nowhere"]["advice"] == "edgepress needs it; pip install 'nowhere>=3'"
    assert (found["extra boards"]["found"], found["extra boards"]["verdict"]) == ("not installed", "note")
    assert found["extra boards"]["advice"] == f"pip install 'edgepress[boards]' adds {ADDS['boards']}"
    assert "nobody" not in found


def test_an_extra_that_names_another_needs_what_that_needs(tmp_path: Path) -> None:
    asks = (
        *("Provides-Extra: fit", "Provides-Extra: scale", 'Requires-Dist: rich; extra == "fit"'),
        *('Requires-Dist: nobody; extra == "fit"', 'Requires-Dist: edgepress[fit]; extra == "scale"'),
    )
    found = findings(tmp_path, first=install(tmp_path / "ours", "edgepress", "9.9", *asks))

    assert found["extra scale"]["found"] == "lacks nobody"


def test_another_python_than_the_metadata_allows_is_wrong(tmp_path: Path) -> None:
    found = findings(tmp_path, first=install(tmp_path / "ours", "edgepress", "9.9", "Requires-Python: >=3.99"))

    assert found["Python"]["verdict"] == "wrong"
    assert "needs Python >=3.99" in found["Python"]["advice"]


def test_two_distributions_of_one_module_are_wrong(tmp_path: Path) -> None:
    found = findings(tmp_path, first=install(tmp_path / "gpu", "onnxruntime-gpu", "1.31.1"))

    assert found["onnxruntime"]["verdict"] == "wrong"
    assert "overwrites" in found["onnxruntime"]["advice"]


@pytest.mark.parametrize("name", ["targets", "devices"])
def test_a_strange_package_before_ours_is_wrong_and_told_without_a_traceback(tmp_path: Path, name: str) -> None:
    found = findings(tmp_path, first=package(tmp_path / "theirs", name))

    assert found[f"name {name}"]["verdict"] == "wrong"
    assert found[f"name {name}"]["found"].startswith(str(tmp_path / "theirs" / name))


@pytest.mark.parametrize(
    ("version", "lines", "verdict"),
    [("2.13.0+cpu", (), "note"), ("2.13.0+cu130", (), "ok"), ("2.13.0", ("Requires-Dist: nvidia-cublas",), "ok")],
)
def test_a_gpu_that_the_installed_torch_cannot_use_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, lines: tuple[str, ...], verdict: str
) -> None:
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    told = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 79\n"
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text(told, encoding="utf-8")
    monkeypatch.setattr(machine, "GPUS", tmp_path / "gpus")
    monkeypatch.syspath_prepend(install(tmp_path / "torch", "torch", version, *lines))

    [found] = [each for each in machine.findings() if each.about == "GPU"]

    assert found.verdict == verdict
    assert found.found.startswith("NVIDIA H100 80GB HBM3")


def test_a_strange_package_behind_ours_is_a_note(tmp_path: Path) -> None:
    found = findings(tmp_path, last=package(tmp_path / "theirs", "pipeline"))

    assert found["name pipeline"]["verdict"] == "note"
    assert "hidden by ours" in found["name pipeline"]["found"]


def test_a_module_of_our_name_in_the_working_folder_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "devices.py").write_text("")

    assert "python -P" in findings(tmp_path)["name devices"]["advice"]


def test_a_distribution_that_wrote_into_a_package_of_ours_is_wrong(tmp_path: Path) -> None:
    record = "other/__init__.py,,\ntargets/__init__.py,,\n"
    found = findings(tmp_path, first=install(tmp_path / "site", "goals", "1.0", record=record))

    assert (found["name targets"]["found"], found["name targets"]["verdict"]) == ("goals brings targets too", "wrong")


def test_a_store_that_cannot_be_written_is_wrong_and_one_that_can_tells_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 * 2**20))
    wrong = findings(tmp_path, EDGEPRESS_STORE=str(tmp_path / "file" / "store"))["store"]
    right = findings(tmp_path, EDGEPRESS_STORE=str(tmp_path))["store"]

    assert (wrong["verdict"], wrong["advice"]) == ("wrong", "name another folder in EDGEPRESS_STORE")
    assert right["verdict"] != "wrong"
    assert f"{tmp_path}: 3 MiB, " in right["found"]


@pytest.mark.parametrize(("threads", "verdict"), [("1", "ok"), ("100000", "note"), ("many", "note"), ("0", "note")])
def test_a_number_of_threads_that_helps_nobody_is_a_note(tmp_path: Path, threads: str, verdict: str) -> None:
    assert findings(tmp_path, OMP_NUM_THREADS=threads)["OMP_NUM_THREADS"]["verdict"] == verdict


def test_a_missing_program_is_a_note_with_what_brings_it(tmp_path: Path) -> None:
    found = findings(tmp_path, PATH=str(tmp_path), EDGEPRESS_CACHE=str(tmp_path))

    assert (found["adb"]["verdict"], found["adb"]["advice"]) == ("note", "on Debian: apt-get install adb")
    assert found["emulated Arm"]["advice"].startswith("apt-get install gcc libc6-dev, then edgepress devices --setup")


@pytest.mark.parametrize(("line", "cores"), [("max 100000", None), ("150000 100000", 1.5), ("", None), ("1 0", None)])
def test_a_control_groups_quota_is_read_as_cores(line: str, cores: float | None) -> None:
    assert read_quota(line) == cores


def test_every_extra_says_what_it_adds() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    assert set(ADDS) == set(extras) - {FOR_DEVELOPERS}
