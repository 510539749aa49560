"""The archive's form: a ZIP file of which every byte follows from its members' names and contents.

Members are stored, not compressed, in the order of their names, all with one date and one mode; there are no folders, extra fields,
comments or ZIP64 records, and nothing stands before, between or after. So reading is comparing: from a directory entry come a name, a
checksum and a size, and every other byte must be what `emit` would have written. Any ZIP program opens it; none but `emit` writes it.

The records are those of APPNOTE.TXT 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT: local header (4.3.7),
directory entry (4.3.12), end (4.3.16).
"""

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.errors import ArchiveError

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""One file, no folder: nothing that could lie elsewhere once it is unpacked."""

MAX_ARCHIVE_BYTES, MAX_MEMBERS = 2**30, 1000
VERSION, STORED, EPOCH = 20, 0, 33  # 4.4.3, ZIP 2.0; 4.4.5; 4.4.6, 1980-01-01 0:00 as MS-DOS counts
MADE_ON_UNIX, PLAIN_FILE = 3 << 8 | VERSION, 0o100644 << 16  # 4.4.2; 4.4.15

LOCAL = struct.Struct("<4s5H3I2H")
ENTRY = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
_SHARED = ("version", "flags", "compression", "time", "date", "CRC-32", "compressed size", "size", "length of the name")
LOCAL_FIELDS = ("signature", *_SHARED, "length of the extra field")
ENTRY_FIELDS = (
    *("signature", "maker", *_SHARED, "length of the extra field", "length of the comment"),
    *("disk", "internal attributes", "external attributes", "offset"),
)
END_FIELDS = (
    *("signature", "disk", "directory's disk", "members on this disk", "members", "directory's size"),
    *("directory's offset", "length of the comment"),
)


@dataclass(frozen=True)
class Member:
    """A file of the archive, with the checksum that its header gives."""

    content: memoryview
    crc32: int

    @property
    def is_whole(self) -> bool:
        """Whether the content has that checksum."""
        return zlib.crc32(self.content) == self.crc32


def emit(members: Mapping[str, bytes | memoryview]) -> bytes:
    """Return the archive that holds these members; equal members give equal bytes."""
    pieces: list[bytes | memoryview] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(members):
        content = members[name]
        facts = (zlib.crc32(content), len(content), name.encode("ascii"))
        header = LOCAL.pack(*_local(*facts)) + facts[2]
        directory.append(ENTRY.pack(*_entry(*facts, offset)) + facts[2])
        pieces += [header, content]
        offset += len(header) + len(content)
    listed = b"".join(directory)
    return b"".join([*pieces, listed, END.pack(*_end(len(members), len(listed), offset))])


def read(content: bytes) -> dict[str, Member]:
    """Return an archive's members by name; ArchiveError names the record, and the member, that `emit` would have written otherwise."""
    view = memoryview(content)
    count, start = _read_end(view)
    position, offset = start, 0
    members: dict[str, Member] = {}
    seen: list[str] = []
    for number in range(1, count + 1):
        name, crc32, size_bytes = _read_entry(view, position, offset, number)
        seen.append(name)
        position += ENTRY.size + len(name)
        data = _read_local(view, name, (crc32, size_bytes), offset, start)
        members[name] = Member(view[data : data + size_bytes], crc32)
        offset = data + size_bytes
    _refuse_order(seen)
    if (position, offset) != (len(view) - END.size, start):
        raise ArchiveError(
            f"{len(view) - END.size - position + start - offset} bytes belong to no member; an archive holds nothing else"
        )
    return members


def _read_end(view: memoryview) -> tuple[int, int]:
    """Return the count of members and where the directory starts."""
    if len(view) < END.size:
        raise ArchiveError(f"{len(view)} bytes are no archive; give a file that `edgepress pack` wrote, whole")
    found = END.unpack_from(view, len(view) - END.size)
    count, start = found[4], found[6]
    expected = _end(count, len(view) - END.size - start, start)
    _compare("the end record, the last 22 bytes", END_FIELDS, found, expected)
    if not 0 < count <= MAX_MEMBERS:
        raise ArchiveError(f"the end record tells of {count} members; an archive has 1 to {MAX_MEMBERS}")
    return count, start


def _read_entry(view: memoryview, position: int, offset: int, number: int) -> tuple[str, int, int]:
    """Return a directory entry's name, checksum and size."""
    if position + ENTRY.size > len(view) - END.size:
        raise ArchiveError(f"the directory ends before entry {number}")
    found = ENTRY.unpack_from(view, position)
    named = ENTRY_FIELDS.index("length of the name")
    crc32, size_bytes, length = found[named - 3], found[named - 1], found[named]
    raw = bytes(view[position + ENTRY.size : position + ENTRY.size + length])
    name = raw.decode("latin-1")
    if not NAME.fullmatch(name):
        raise ArchiveError(
            f"entry {number} of the directory names {name!r:.80}; a member is a plain file in no folder, of letters, digits, '.', '-' and '_'"
        )
    _compare(f"{name}: its directory entry", ENTRY_FIELDS, found, _entry(crc32, size_bytes, raw, offset))
    return name, crc32, size_bytes


def _refuse_order(names: Sequence[str]) -> None:
    for before, name in pairwise(names):
        if name <= before:
            raise ArchiveError(f"{name}: stands after {before}; each member stands once, in the names' order")
    for before, name in pairwise(sorted(names, key=str.lower)):
        if name.lower() == before.lower():
            raise ArchiveError(
                f"{name}: {before} has this name in other letters' case; many systems hold but one of them"
            )


def _read_local(view: memoryview, name: str, facts: tuple[int, int], offset: int, start: int) -> int:
    """Compare a local header with its directory entry; return where the content begins."""
    data = offset + LOCAL.size + len(name)
    if data + facts[1] > start:
        raise ArchiveError(f"{name}: its {facts[1]} bytes don't end before the directory")
    found = LOCAL.unpack_from(view, offset)
    _compare(f"{name}: its local header", LOCAL_FIELDS, found, _local(*facts, name.encode()))
    if view[offset + LOCAL.size : data] != name.encode():
        raise ArchiveError(f"{name}: its local header names {bytes(view[offset + LOCAL.size : data])!r:.80}")
    return data


def _compare(what: str, fields: Sequence[str], found: Sequence[object], expected: Sequence[object]) -> None:
    for field, one, other in zip(fields, found, expected, strict=True):
        if one != other:
            raise ArchiveError(f"{what} has {field} {one!r}; an archive has {other!r} there")


def _local(crc32: int, size_bytes: int, name: bytes) -> tuple[int | bytes, ...]:
    shared = (VERSION, 0, STORED, 0, EPOCH, crc32, size_bytes, size_bytes, len(name))
    return (b"PK\x03\x04", *shared, 0)


def _entry(crc32: int, size_bytes: int, name: bytes, offset: int) -> tuple[int | bytes, ...]:
    _, *shared = _local(crc32, size_bytes, name)
    return (b"PK\x01\x02", MADE_ON_UNIX, *shared, 0, 0, 0, PLAIN_FILE, offset)


def _end(count: int, size_bytes: int, start: int) -> tuple[int | bytes, ...]:
    return (b"PK\x05\x06", 0, 0, count, count, size_bytes, start, 0)
