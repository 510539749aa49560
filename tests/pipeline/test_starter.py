"""The starter's files: written where that can be, and told in one line where it can't."""

from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.starter import write_starter


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/leaves"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(RecipeError, match=r"can't write a starter into .* \(.+\); name a new folder"):
        write_starter(tmp_path / folder)


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_starter(tmp_path)]

    with pytest.raises(RecipeError, match=r"task\.py is there already; name another folder"):
        write_starter(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in ("task.py", "recipe.toml")] == first
