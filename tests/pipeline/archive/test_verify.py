"""An archive that is altered anywhere, or whose parts contradict each other, is refused, and the member is named."""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.archive.form import END, ENTRY, LOCAL
from pipeline.archive.pack import pack
from pipeline.archive.verify import Verification, verify
from pipeline.artifact import canonical_json
from pipeline.errors import ModelError
from tests.small_archive import Members, indexed, members_of, write_keys, written
from tests.small_run import write_run


@dataclass(frozen=True)
class Packed:
    """A signed archive, and the public key."""

    path: Path
    public: Path
    folder: Path

    def altered(self, position: int, bit: int) -> Path:
        content = bytearray(self.path.read_bytes())
        content[position] ^= 1 << bit
        path = self.folder / "altered.edgepress"
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    folder = tmp_path_factory.mktemp("packed")
    private, public = write_keys(folder)
    return Packed(pack(write_run(folder), key=private), public, folder)


def refusal(path: Path, key: Path | None = None) -> str:
    found = verify(path, key=key)
    assert not found.passed
    assert all("\n" not in problem for problem in found.problems)
    return found.problems[0]


def regions(members: Mapping[str, bytes]) -> Iterator[tuple[str, str, int, int]]:
    """Give each part of an archive: the member, what it is, where it begins and ends."""
    offset = 0
    for name in sorted(members):
        yield name, "header", offset, (data := offset + LOCAL.size + len(name))
        yield name, "content", data, (offset := data + len(members[name]))
    for name in sorted(members):
        yield name, "entry", offset, (offset := offset + ENTRY.size + len(name))
    yield "", "end", offset, offset + END.size


def test_a_whole_archive_passes_and_says_whose_it_is(packed: Packed) -> None:
    found = verify(packed.path, key=packed.public)

    assert found.passed
    assert (found.known_key, len(found.signed_by or "")) == (True, 64)
    assert found == Verification((), 13, found.signed_by, known_key=True)
    assert verify(packed.path).signed_by == found.signed_by


def test_a_flipped_bit_in_any_part_of_any_member_is_refused_and_the_member_named(packed: Packed) -> None:
    """But for the name itself and its length: with those flipped, it is another member that is told of."""
    dice = random.Random(0)  # noqa: S311 - no secret
    length_of_name = {"header": (26, 27), "entry": (28, 29)}
    for name, part, start, end in regions(members_of(packed.path)):
        fixed = end - len(name) if part in length_of_name else end
        for position in {start, fixed - 1, *(dice.randrange(start, fixed) for _ in range(6))}:
            if position - start not in length_of_name.get(part, ()):
                problem = refusal(packed.altered(position, dice.randrange(8)))
                assert name in problem, (name, part, position, problem)
                assert part != "content" or problem.startswith(f"{name}: "), problem


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(packed: Packed, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, packed.path.stat().st_size - 1))

    assert refusal(packed.altered(position, data.draw(st.integers(0, 7))))


@pytest.mark.slow
def test_a_flipped_bit_at_every_byte_is_refused(packed: Packed) -> None:
    for position in range(packed.path.stat().st_size):
        assert refusal(packed.altered(position, position % 8))


def test_a_swapped_model_is_refused(packed: Packed, tmp_path: Path) -> None:
    members = members_of(packed.path)
    other = {**members, "model.tflite": members["model.onnx"]}

    assert refusal(written(tmp_path / "a.edgepress", other)).startswith(
        "model.tflite: its content was altered: sha256 "
    )
    assert refusal(written(tmp_path / "a.edgepress", indexed(other))).startswith(
        "model.tflite: the manifest says sha256 "
    )


def test_an_added_or_removed_member_is_refused(packed: Packed, tmp_path: Path) -> None:
    members = members_of(packed.path)
    more = {**members, "install.sh": b"#!/bin/sh\n"}
    fewer = {name: content for name, content in members.items() if name != "front_end.txt"}

    path = tmp_path / "a.edgepress"
    assert refusal(written(path, more)).startswith("install.sh: the index doesn't name this member")
    assert refusal(written(path, fewer)).startswith("front_end.txt: the index names this member, and it is missing")
    assert refusal(written(path, indexed(more))) == "install.sh: the manifest doesn't name this file"
    assert refusal(written(path, indexed(fewer))) == "front_end.txt: the manifest names this file, and it is missing"


@pytest.mark.parametrize(
    "name", ["manifest.json", "report.json", "bom.cdx.json", "README.md", "recipe.toml", "environment.txt"]
)
def test_an_archive_that_lacks_one_of_its_own_parts_is_refused(packed: Packed, tmp_path: Path, name: str) -> None:
    members = {each: content for each, content in members_of(packed.path).items() if each != name}

    assert refusal(written(tmp_path / "a.edgepress", indexed(members))).startswith(f"{name}: ")


def test_an_archive_without_an_index_is_refused(packed: Packed, tmp_path: Path) -> None:
    members = {name: content for name, content in members_of(packed.path).items() if name != "index.json"}

    assert "index.json is missing" in refusal(written(tmp_path / "a.edgepress", members))


@pytest.mark.parametrize(
    "index",
    [b"", b"[]", b"{", b"[" * 100_000, b'{"schema": 2}', b"\xff", b'{"members": {}, "members": {}}', b"0" * 2**21],
)
def test_what_is_no_index_is_refused(packed: Packed, tmp_path: Path, index: bytes) -> None:
    members = {**members_of(packed.path), "index.json": index}

    assert refusal(written(tmp_path / "a.edgepress", members)).startswith("index.json")


def test_an_index_written_in_another_way_is_refused(packed: Packed, tmp_path: Path) -> None:
    members = members_of(packed.path)
    members["index.json"] = json.dumps(json.loads(members["index.json"])).encode()

    assert "it isn't written as `edgepress pack` writes it" in refusal(written(tmp_path / "a.edgepress", members))


def changed(members: Members, name: str, *path: Any, to: Any) -> Members:
    """Return the members with one value of a JSON member changed, and all digests above it mended, as a careful forger does."""
    content = json.loads(members[name])
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    made = {**members, name: canonical_json(content).encode()}
    if name != "manifest.json":
        manifest = json.loads(made["manifest.json"])
        manifest["files"][name] = indexed_digest(made, name)
        made["manifest.json"] = canonical_json(manifest).encode()
    return made


def indexed_digest(members: Members, name: str) -> str:
    digest: str = json.loads(indexed(members)["index.json"])["members"][name]["sha256"]
    return digest


ZEROS = "0" * 64


@pytest.mark.parametrize(
    ("name", "path", "to", "told"),
    [
        ("manifest.json", ("files", "model.onnx"), ZEROS, "model.onnx: the manifest says sha256 000"),
        ("manifest.json", ("files", "extra.bin"), ZEROS, "extra.bin: the manifest names this file, and it is missing"),
        ("manifest.json", ("artifacts", "model.onnx", "digest"), ZEROS, "model.onnx: the manifest's list of its artifact"),
        ("manifest.json", ("artifacts", "model.onnx", "files"), [], "model.onnx: the manifest's list of its artifact"),
        ("manifest.json", ("artifacts", "model.onnx", "row"), "int8 tflite", "model.onnx: the report's figures of"),
        ("manifest.json", ("artifacts", "model.onnx", "row"), "no such", "model.onnx: the report's figures of"),
        ("manifest.json", ("steps", "export_onnx", "digest"), ZEROS, "model.onnx: the manifest's step 'export_onnx'"),
        ("manifest.json", ("artifacts",), {}, "model.onnx: the manifest doesn't say which step made it"),
        ("manifest.json", ("target",), "pixel-8", "report.json: it tells of another run than manifest.json"),
        ("manifest.json", ("samples", "test"), 41, "report.json: it tells of 40 test samples"),
        ("manifest.json", ("seed",), "nought", "manifest.json isn't one that this version reads (seed"),
        ("manifest.json", ("recipe", "seed"), 7, "recipe.toml: it isn't the recipe of manifest.json"),
        ("manifest.json", ("environment", "python"), "3.0", "environment.txt: it isn't the environment"),
        ("report.json", ("rows", 1, "digest"), ZEROS, "model.onnx: the report's figures of 'int8 onnx'"),
        ("report.json", ("rows", 1, "size_bytes"), 3, "model.onnx: the report's figures of 'int8 onnx'"),
        ("report.json", ("rows", 0, "digest"), ZEROS, "report.json: no step of manifest.json made 'teacher wide'"),
        ("report.json", ("measurements", 0, "model"), "other", "report.json: it measures 'other', of which it has no row"),
        ("report.json", ("test_samples",), "many", "report.json isn't one that this version reads (test_samples"),
    ],
)  # fmt: skip
def test_parts_that_contradict_each_other_are_refused(
    packed: Packed, tmp_path: Path, name: str, path: tuple[Any, ...], to: Any, told: str
) -> None:
    members = indexed(changed(members_of(packed.path), name, *path, to=to))

    assert told in "\n".join(verify(written(tmp_path / "a.edgepress", members)).problems)


@pytest.mark.parametrize("name", ["model.onnx", "report.json", "manifest.json", "README.md", "front_end.txt"])
def test_a_bill_of_materials_with_another_hash_is_refused(packed: Packed, tmp_path: Path, name: str) -> None:
    members = members_of(packed.path)
    content = json.loads(members["bom.cdx.json"])
    [file] = [each for each in content["metadata"]["component"]["components"] if each["name"] == name]
    file["hashes"][0]["content"] = ZEROS
    members["bom.cdx.json"] = canonical_json(content).encode()

    told = refusal(written(tmp_path / "a.edgepress", indexed(members)))
    assert told.startswith(f"bom.cdx.json: of {name!r} it says sha256 {ZEROS}; it is ")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"[" * 100_000, b'{"metadata": {"component": {"components": [{}]}}}']
)
def test_what_is_no_bill_of_materials_is_refused(packed: Packed, tmp_path: Path, content: bytes) -> None:
    members = {**members_of(packed.path), "bom.cdx.json": content}

    assert refusal(written(tmp_path / "a.edgepress", indexed(members))).startswith("bom.cdx.json")


def test_what_is_no_archive_fails_and_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")

    assert "0 bytes are no archive" in refusal(tmp_path / "empty")
    with pytest.raises(ModelError, match="No such file"):
        verify(tmp_path / "missing")
    with pytest.raises(ModelError, match="Is a directory"):
        verify(tmp_path)
