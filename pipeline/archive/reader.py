"""Read an archive: its form, its index, and whether each member is the one that the index names. Nothing else is parsed here.

`index.json` holds the sha256 and the size of every member but itself and its signature:

    {"kind": "edgepress archive", "members": {"model.onnx": {"sha256": ..., "size_bytes": ...}, ...}, "schema": 1}
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.archive.form import MAX_ARCHIVE_BYTES, Member, read
from pipeline.artifact import canonical_json
from pipeline.errors import ArchiveError, ModelError

SUFFIX = ".edgepress"
INDEX, SIGNATURE, PUBLIC_KEY = "index.json", "index.json.sig", "index.json.pub"
OUTSIDE = (INDEX, SIGNATURE, PUBLIC_KEY)
"""Members that the index can't name."""

MAX_INDEX_BYTES = 2**20


class Entry(BaseModel):
    """What a member's content must be."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class Index(BaseModel):
    """What the archive holds, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["edgepress archive"] = "edgepress archive"
    members: dict[str, Entry]
    schema_: Literal[1] = Field(default=1, alias="schema")

    def to_bytes(self) -> bytes:
        """Return it as `index.json` holds it; equal indexes are equal bytes."""
        return (canonical_json(self.model_dump(by_alias=True)) + "\n").encode()


@dataclass(frozen=True)
class Archive:
    """An archive of the right form, whose index names exactly its members; `altered` tells of those that aren't what it says."""

    members: Mapping[str, Member]
    index: Index

    def content(self, name: str) -> bytes:
        """Return a member's content."""
        return bytes(self.members[name].content)

    def altered(self) -> tuple[str, ...]:
        """Return a sentence for each member whose content isn't the one that the index, or its header, promises."""
        found = (_altered(name, self.members[name], self.index.members.get(name)) for name in sorted(self.members))
        return tuple(sentence for sentence in found if sentence)


def index_of(members: Mapping[str, bytes]) -> Index:
    """Return the index of these members."""
    return Index(members={name: entry_of(content) for name, content in members.items()})


def entry_of(content: bytes | memoryview) -> Entry:
    """Return what an index says of a content."""
    return Entry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def read_archive(path: Path) -> Archive:
    """Read an archive; ModelError where there is no such file, ArchiveError where it has not the form or the members of one."""
    content = _content(path)
    members = read(content)
    if INDEX not in members:
        raise ArchiveError(f"{INDEX} is missing; an archive names its members there")
    index = _index(members[INDEX])
    held, named = set(members) - set(OUTSIDE), set(index.members)
    if added := sorted(held - named):
        raise ArchiveError(f"{added[0]}: the index doesn't name this member; it was added, or renamed")
    if missing := sorted(named - held):
        raise ArchiveError(f"{missing[0]}: the index names this member, and it is missing; it was removed, or renamed")
    return Archive(members=members, index=index)


def _index(member: Member) -> Index:
    if len(member.content) > MAX_INDEX_BYTES:
        raise ArchiveError(f"{INDEX} is larger than {MAX_INDEX_BYTES} bytes")
    if not member.is_whole:  # told first: a damaged index would accuse other members
        raise ArchiveError(str(_altered(INDEX, member, None)))
    content = bytes(member.content)
    try:
        index = Index.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ArchiveError(f"{INDEX} was altered: {where or 'it'}: {first['msg'][:120]}") from error
    if index.to_bytes() != content:
        raise ArchiveError(f"{INDEX} was altered: it isn't written as `edgepress pack` writes it")
    return index


def _altered(name: str, member: Member, entry: Entry | None) -> str | None:
    if entry is not None and (found := entry_of(member.content)) != entry:
        return (
            f"{name}: its content was altered: sha256 {found.sha256}, {found.size_bytes} bytes; "
            f"the index says {entry.sha256}, {entry.size_bytes} bytes"
        )
    return None if member.is_whole else f"{name}: its content, or the CRC-32 in its header, was altered"


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_ARCHIVE_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise ModelError(
            f"can't read the archive {str(path)!r:.200} ({getattr(error, 'strerror', error)}); give a file that `edgepress pack` wrote"
        ) from error
    if len(content) > MAX_ARCHIVE_BYTES:
        raise ModelError(f"{path} is larger than {MAX_ARCHIVE_BYTES // 2**20} MiB; no archive is")
    return content
