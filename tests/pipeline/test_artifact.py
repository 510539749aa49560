"""Artifacts: the digest covers every byte and every name, and what is no artifact is refused."""

import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline.artifact import (
    KINDS,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Artifact,
    Kind,
    digest_of,
    open_artifact,
    write_manifest,
)
from pipeline.errors import ModelError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
FACTS = st.dictionaries(
    st.text(), st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an artifact's folder with two files, one of them in a folder of its own."""
    made = tmp_path / "artifact"
    (made / "deep").mkdir(parents=True)
    (made / "costs.json").write_text("{}", encoding="utf-8")
    (made / "deep" / "more.bin").write_bytes(b"\0\1")
    write_manifest(made, "costs", {"layers": 3})
    return made


def test_an_opened_artifact_is_what_was_written(folder: Path) -> None:
    artifact = open_artifact(folder)

    assert (artifact.kind, artifact.facts, artifact.path) == ("costs", {"layers": 3}, folder)
    assert artifact.digest == digest_of(folder)
    assert artifact.file("costs.json").read_text(encoding="utf-8") == "{}"


def test_the_digest_does_not_depend_on_where_the_folder_lies(folder: Path, tmp_path: Path) -> None:
    before = digest_of(folder)

    assert digest_of(folder.rename(tmp_path / "elsewhere")) == before


def flip_a_bit(folder: Path) -> None:
    (folder / "deep" / "more.bin").write_bytes(b"\0\3")


def rename_a_file(folder: Path) -> None:
    (folder / "costs.json").rename(folder / "cost.json")


def move_a_file(folder: Path) -> None:
    (folder / "deep" / "more.bin").rename(folder / "more.bin")


def add_an_empty_file(folder: Path) -> None:
    (folder / "empty").touch()


def swap_contents(folder: Path) -> None:
    (folder / "costs.json").write_bytes(b"\0\1")
    (folder / "deep" / "more.bin").write_text("{}", encoding="utf-8")


def change_a_fact(folder: Path) -> None:
    write_manifest(folder, "costs", {"layers": 4})


@pytest.mark.parametrize(
    "change", [flip_a_bit, rename_a_file, move_a_file, add_an_empty_file, swap_contents, change_a_fact]
)
def test_any_change_changes_the_digest(folder: Path, change: Any) -> None:
    before = digest_of(folder)

    change(folder)

    assert digest_of(folder) != before


def test_a_file_name_cannot_pass_for_two_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    (two / "a").touch()
    (two / "b").touch()
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (one / f"a\n{nothing} 0 b").touch()

    assert digest_of(one) != digest_of(two)


def test_a_file_name_that_is_no_text_is_digested(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff")).touch()

    assert len(digest_of(tmp_path)) == 64


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"schema": 1, "kind": "costs"}',
        '{"schema": 2, "kind": "costs", "facts": {}}',
        '{"schema": 1, "kind": "poem", "facts": {}}',
        '{"schema": 1, "kind": ["costs"], "facts": {}}',
        '{"schema": 1, "kind": "costs", "facts": []}',
        '{"schema": 1, "kind": "costs", "facts": {"macs": NaN}}',
        '{"schema": 1, "kind": "costs", "facts": {"macs": 1e999}}',
        "[" * 100_000,
        '{"schema": 1, "kind": "costs", "facts": ' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "}",
        '{"a": ' + "9" * 10_000 + "}",
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / MANIFEST).write_text(content, encoding="utf-8")

    with pytest.raises(ModelError, match=r"is no artifact") as caught:
        open_artifact(folder)

    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff\xfe\0")

    with pytest.raises(ModelError, match="is no artifact"):
        open_artifact(folder)


def test_a_huge_manifest_is_refused_unread(folder: Path) -> None:
    with (folder / MANIFEST).open("wb") as file:
        file.truncate(MAX_MANIFEST_BYTES + 1)

    with pytest.raises(ModelError, match="larger than"):
        open_artifact(folder)


def test_a_pipe_in_place_of_the_manifest_does_not_hang(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)

    with pytest.raises(ModelError, match="no such file"):
        open_artifact(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give an artifact's folder"):
        open_artifact(tmp_path / "nowhere")


def test_a_missing_file_says_what_to_do(folder: Path) -> None:
    artifact = open_artifact(folder)

    with pytest.raises(ModelError, match=r"\(costs\) has no 'model.onnx'; run the recipe again"):
        artifact.file("model.onnx")


def test_facts_that_are_no_numbers_are_not_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_manifest(folder, "costs", {"macs": float("nan")})


@settings(max_examples=60, deadline=None, database=None)
@given(facts=FACTS, kind=st.sampled_from(KINDS))
def test_all_facts_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any], kind: Kind
) -> None:
    folder = tmp_path_factory.mktemp("artifact")

    write_manifest(folder, kind, facts)

    assert (open_artifact(folder).kind, open_artifact(folder).facts) == (kind, facts)


@settings(max_examples=100, deadline=None, database=None)
@given(content=st.binary(max_size=200) | st.from_type(dict).map(lambda value: json.dumps(value, default=str).encode()))
def test_any_other_content_is_a_model_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    (folder / MANIFEST).write_bytes(content)

    with pytest.raises(ModelError):
        open_artifact(folder)


def test_a_hostile_fact_is_shown_as_text_and_a_long_one_is_cut(tmp_path: Path) -> None:
    facts = {
        "name": "<script>alert(1)</script>[bold]",
        "history": [{"loss": 0.5}] * 900,
        "note": "x" * 5000,
        "title": "\x1b[2J",
    }
    artifact = Artifact(digest="0" * 64, kind="network", path=tmp_path, facts=facts)
    page, printed = artifact._repr_html_(), StringIO()
    Console(file=printed, width=300).print(artifact)

    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;[bold]" in page
    assert "<td>900 entries</td>" in page
    assert len(page) < 1500
    assert "<script>alert(1)</script>[bold]" in printed.getvalue()
    assert "\x1b" not in printed.getvalue()
