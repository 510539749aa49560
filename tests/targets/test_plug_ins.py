"""Target profiles of plug-ins: packages found as installed ones are, by the entry point that they register."""

from pathlib import Path

import pytest

import targets
from pipeline.errors import TargetError
from targets import known_targets, load_target

PROFILE = Path(targets.__file__).parent / "pixel-8.toml"


def plug_in(folder: Path, name: str, points_to: str, *, code: str = "") -> Path:
    """Write a package as an installer leaves it in `folder`, with an entry point; return the package's folder."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text(code, encoding="utf-8")
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text(f"[edgepress.targets]\n{name} = {points_to}\n", encoding="utf-8")
    return package


def profile(path: Path, title: str = "My board") -> None:
    text = PROFILE.read_text(encoding="utf-8").replace('"pixel-8"', f'"{path.stem}"').replace("Google Pixel 8", title)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_package_that_is_a_folder_of_profiles_adds_its_targets(installed: Path) -> None:
    package = plug_in(installed, "boards_of_mine", "boards_of_mine")
    profile(package / "my-board.toml")

    assert "my-board" in known_targets()
    assert load_target("my-board").title == "My board"


def test_an_entry_point_may_be_a_function_that_gives_paths(installed: Path) -> None:
    code = "from pathlib import Path\n\ndef boards():\n    return [Path(__file__).parent / 'data']\n"
    package = plug_in(installed, "boards_by_call", "boards_by_call:boards", code=code)
    (package / "data").mkdir()
    profile(package / "data" / "called-board.toml")

    assert load_target("called-board").name == "called-board"


def test_a_plug_in_that_takes_a_name_that_ships_is_refused_by_name(installed: Path) -> None:
    package = plug_in(installed, "boards_taken", "boards_taken")
    profile(package / "pixel-8.toml")

    with pytest.raises(TargetError, match="plug-in 'boards_taken': there is a target 'pixel-8' already"):
        known_targets()
    assert load_target("pixel-8").title == "Google Pixel 8", "what ships is read whatever a plug-in does"


def test_a_plug_in_that_fails_says_whose_it_is_and_what_to_do(installed: Path) -> None:
    plug_in(installed, "boards_broken", "boards_broken:nothing")

    with pytest.raises(
        TargetError, match=r"plug-in 'boards_broken' of package 'boards_broken' gives no .*mend or uninstall it"
    ):
        known_targets()


def test_a_mistake_in_a_plug_ins_profile_names_the_file_and_the_key(installed: Path) -> None:
    package = plug_in(installed, "boards_wrong", "boards_wrong")
    profile(package / "wrong-board.toml")
    text = (package / "wrong-board.toml").read_text(encoding="utf-8")
    (package / "wrong-board.toml").write_text(text.replace("clock_mhz", "clock_mhs", 1), encoding="utf-8")

    with pytest.raises(TargetError, match=r"wrong-board.toml: unknown key 'cores.0.clock_mhs'"):
        load_target("wrong-board")
