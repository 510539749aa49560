"""The front door: what a caller names is looked for where the caller stands."""

from pathlib import Path

import pytest

import targets as profiles
from pipeline.api import load, plans_of
from pipeline.starter import write_starter


def write_profile(path: Path, title: str) -> None:
    text = (Path(profiles.__file__).parent / "raspberry-pi-4.toml").read_text(encoding="utf-8")
    named = text.replace('"raspberry-pi-4"', f'"{path.stem}"').replace("Raspberry Pi 4 Model B", title)
    path.write_text(named, encoding="utf-8")


def test_a_callers_profile_lies_where_the_caller_is_and_a_recipes_own_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, path = write_starter(Path("lv"))
    path.write_text(path.read_text(encoding="utf-8").replace("raspberry-pi-4", "board.toml"), encoding="utf-8")
    write_profile(Path("lv/board.toml"), "beside")
    write_profile(Path("board.toml"), "here")

    for given, title in (([], "beside"), (["lv/board.toml"], "beside"), (["board.toml"], "here")):
        assert [target.title for target, _ in plans_of(*load(path, settings=[], targets=given))] == [title]
