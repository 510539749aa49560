"""The environment names exactly what had a part: what is loaded, the toolchain, and what these require."""

import importlib.metadata
import platform

from packaging.utils import canonicalize_name

from pipeline.environment import environment


def test_what_is_loaded_and_what_that_requires_stands_there_with_its_version() -> None:
    found = environment(["typer"])

    versions = found["distributions"]
    assert (found["python"], found["platform"]) == (
        platform.python_version(),
        f"{platform.system()} {platform.machine()}",
    )
    assert versions == {name: importlib.metadata.version(name) for name in versions}
    assert {"pytest", "pluggy", "iniconfig", "typer"} <= versions.keys()


def test_what_is_installed_and_has_no_part_is_left_out() -> None:
    versions = environment([])["distributions"]

    assert "check-wheel-contents" in {each.metadata["Name"] for each in importlib.metadata.distributions()}
    assert "check-wheel-contents" not in versions
    assert len({canonicalize_name(name) for name in versions}) == len(versions)


def test_a_name_is_one_in_all_its_spellings() -> None:
    assert {canonicalize_name(name) for name in ("Neural_Compressor", "neural.compressor", "neural--compressor")} == {
        "neural-compressor"
    }
