"""The lock: what `make` installs is one version of each package, of known content; seen without a network."""

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipeline.tasks.text_ratings import DIGEST

ROOT = Path(__file__).parent.parent
CI = ROOT / ".ci"
EXTRAS = ("demo", "test")
"""What the Makefile installs."""
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)
Pins = dict[str, tuple[Version, int]]
"""Of each package: its version, and how many files of it are known by digest."""


def pins(name: str) -> Pins:
    """Return what a file pins; every line of it must be understood."""
    text = re.sub(r"^#.*\n", "", (CI / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert PINNED.sub("", text).strip() == ""
    return {
        canonicalize_name(each): (Version(version), hashes.count("sha256:"))
        for each, version, hashes in PINNED.findall(text)
    }


def lock(extra: str) -> Pins:
    return {**pins(f"lock-{extra}.txt"), **pins("torch.txt")}


def versions(found: Pins) -> dict[str, Version]:
    """Return the versions, without the label that a build of torch's bears."""
    return {name: Version(version.public) for name, (version, _) in found.items()}


def wanted(extra: str) -> Iterator[Requirement]:
    """Return what the project asks for with an extra, and with those that it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    asked += project["project"]["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        if requirement.name == "edgepress":
            yield from (each for further in requirement.extras for each in wanted(further))
        else:
            yield requirement


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_has_all_that_the_project_asks_for(extra: str) -> None:
    locked = versions(lock(extra))

    lacking = [str(each) for each in wanted(extra) if canonicalize_name(each.name) not in locked]
    assert lacking == []
    assert [str(each) for each in wanted(extra) if locked[canonicalize_name(each.name)] not in each.specifier] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_locked_file_is_known_by_its_digest(extra: str) -> None:
    assert [name for name, (_, digests) in lock(extra).items() if digests == 0] == []


def test_the_lock_has_the_proven_versions_and_no_others() -> None:
    proven = versions(pins("constraints.txt"))

    assert {**versions(lock("demo")), **versions(lock("test"))} == proven
    assert versions(lock("demo")).items() <= versions(lock("test")).items()


def test_the_downloaded_ratings_are_those_that_the_task_reads() -> None:
    assert f"--hash=sha256:{DIGEST}" in (CI / "tweets.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("tampered", [False, True])
def test_make_refuses_a_package_that_is_not_the_locked_one(tmp_path: Path, *, tampered: bool) -> None:
    """By the Makefile's own rule, on a project with one small dependency; pip only says what it would install."""
    lay_out(tmp_path, torch=write_wheel(tmp_path / "wheels", "torch", "1+cpu"))
    digest = hashlib.sha256(write_wheel(tmp_path / "wheels", "tiny_locked", "1") + b"x" * tampered).hexdigest()
    (tmp_path / ".ci" / "lock-tiny.txt").write_text(f"tiny_locked==1 --hash=sha256:{digest}\n", encoding="utf-8")

    made = make(tmp_path, ".venv/with-tiny")

    assert (tmp_path / ".venv" / "with-tiny").exists() is not tampered, made.stderr
    assert ("DO NOT MATCH THE HASHES" in made.stderr) is tampered


@pytest.mark.parametrize(
    ("version", "content", "works", "says"),
    [("1+cpu", b"another", False, "DO NOT MATCH THE HASHES"), ("1", b"", True, "pip finds no CPU build of torch")],
)
def test_make_takes_the_default_torch_only_where_there_is_no_cpu_build(
    tmp_path: Path, version: str, content: bytes, *, works: bool, says: str
) -> None:
    lay_out(tmp_path, torch=write_wheel(tmp_path / "wheels", "torch", version) + content)
    (tmp_path / ".ci" / "lock-tiny.txt").touch()

    made = make(tmp_path, ".venv/with-tiny")

    assert (tmp_path / ".venv" / "with-tiny").exists() is works, made.stderr
    assert says in made.stdout + made.stderr


def lay_out(project: Path, *, torch: bytes) -> None:
    """Write a project that the Makefile can set up, which knows a torch of these bytes."""
    (project / ".ci").mkdir()
    (project / ".venv").mkdir()
    (project / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (project / "pyproject.toml").write_text('[project]\nname = "whole"\nversion = "1"\n', encoding="utf-8")
    digest = hashlib.sha256(torch).hexdigest()
    (project / ".ci" / "torch.txt").write_text(f"torch==1+cpu \\\n    --hash=sha256:{digest}\n", encoding="utf-8")


def write_wheel(folder: Path, name: str, version: str) -> bytes:
    """Write the smallest package that pip takes; return its bytes."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path.read_bytes()


def make(project: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Make a target with the environment of the tests, into which nothing is installed."""
    settings = {"PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")}
    command = ["make", f"BIN={Path(sys.executable).parent}", target]
    return subprocess.run(
        command, cwd=project, env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
