"""An archive's every byte follows from its members: what any other writer writes, or anybody alters, is refused."""

import struct
import zipfile
from collections.abc import Iterable
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.archive.form import END, ENTRY, LOCAL, MAX_MEMBERS, NAME, emit, read
from pipeline.errors import ArchiveError

MEMBERS = {"a.txt": b"one", "empty": b"", "model.onnx": bytes(range(256))}


def refusal(content: bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        read(content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o100644 << 16
    return info


def zipped(members: Iterable[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Write by Python's own writer."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for info, content in members:
            file.writestr(info, content)
    return buffer.getvalue()


@given(st.dictionaries(st.from_regex(NAME, fullmatch=True), st.binary(max_size=200), min_size=1, max_size=6))
def test_what_was_emitted_is_read_again_and_emits_the_same(members: dict[str, bytes]) -> None:
    content = emit(members)
    if len({name.lower() for name in members}) < len(members):
        assert "has this name in other letters' case" in refusal(content)
        return
    found = read(content)

    assert {name: bytes(member.content) for name, member in found.items()} == members
    assert all(member.is_whole for member in found.values())
    assert emit({name: member.content for name, member in found.items()}) == content


def test_other_programs_open_it() -> None:
    with zipfile.ZipFile(BytesIO(emit(MEMBERS))) as file:
        assert file.testzip() is None
        assert {name: file.read(name) for name in file.namelist()} == MEMBERS


def test_pythons_own_writer_gives_the_same_bytes_when_it_is_told_all_of_it() -> None:
    assert zipped((plain(name), content) for name, content in MEMBERS.items()) == emit(MEMBERS)


def test_every_flipped_bit_is_refused() -> None:
    content = emit(MEMBERS)
    for position in range(len(content)):
        for bit in range(8):
            altered = bytearray(content)
            altered[position] ^= 1 << bit
            try:
                found = read(bytes(altered))
            except ArchiveError:
                continue
            assert not all(member.is_whole for member in found.values()), (position, bit)


@given(st.integers(0, len(emit(MEMBERS)) - 1))
def test_a_truncated_archive_is_refused(length: int) -> None:
    refusal(emit(MEMBERS)[:length])


@given(st.binary(max_size=300))
def test_bytes_that_are_no_archive_are_refused_in_one_line(content: bytes) -> None:
    refusal(content)


@pytest.mark.parametrize("name", ["../a", "/a", "a/b", "a\\b", "folder/", ".hidden", "C:a", "a b", "ä", "a" * 101])
def test_a_name_that_could_lie_elsewhere_is_refused(name: str) -> None:
    assert "a member is a plain file in no folder" in refusal(zipped([(plain(name), b"")]))


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        ({"compress_type": zipfile.ZIP_DEFLATED}, "compression 8"),
        ({"external_attr": 0o120777 << 16}, "external attributes"),  # a link
        ({"external_attr": 0o040755 << 16 | 0x10}, "external attributes"),  # a folder
        ({"create_system": 0}, "maker"),
        ({"date_time": (2026, 1, 1, 0, 0, 0)}, "date"),
        ({"extra": b"\x01\x00\x04\x00abcd"}, "length of the extra field"),
        ({"comment": b"hello"}, "length of the comment"),
        ({"internal_attr": 1}, "internal attributes"),
    ],
)
def test_a_member_that_is_more_than_a_plain_stored_file_is_refused(alter: dict[str, object], what: str) -> None:
    info = plain("a.txt")
    for key, value in alter.items():
        setattr(info, key, value)

    assert f"a.txt: its directory entry has {what}" in refusal(zipped([(info, b"one")]))


def test_an_encrypted_member_is_refused() -> None:
    content = bytearray(emit({"a.txt": b"one"}))
    content[6] |= 1  # the flag in the local header
    content[LOCAL.size + len("a.txt") + len(b"one") + 8] |= 1  # and in the directory

    assert "a.txt: its directory entry has flags 1" in refusal(bytes(content))


def test_a_member_that_stands_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([(plain("a.txt"), b"one"), (plain("a.txt"), b"two")])

    assert refusal(content) == "a.txt: stands after a.txt; each member stands once, in the names' order"


def test_members_in_another_order_are_refused() -> None:
    assert "a: stands after b" in refusal(zipped([(plain("b"), b""), (plain("a"), b"")]))


@pytest.mark.parametrize("add", [b"\0", b"PK\x03\x04", b"\x7fELF" + bytes(100)])
def test_what_stands_before_behind_or_between_is_refused(add: bytes) -> None:
    content = emit(MEMBERS)
    start = struct.unpack_from("<I", content, len(content) - 6)[0]
    between = content[:start] + add + content[start:]

    assert refusal(add + content)
    assert refusal(content + add)
    assert refusal(between)
    assert "belong to no member" in refusal(between[:-6] + struct.pack("<IH", start + len(add), 0))


def test_two_members_that_share_bytes_are_refused() -> None:
    """As a "zip bomb" does: https://www.bamsoftware.com/hacks/zipbomb/."""
    content = bytearray(emit({"a": b"one", "b": b"one"}))
    second = len(content) - END.size - ENTRY.size - 1
    struct.pack_into("<I", content, second + ENTRY.size - 4, 0)

    assert "b: its directory entry has offset 0" in refusal(bytes(content))


def test_zip64_is_refused() -> None:
    with zipfile.ZipFile(buffer := BytesIO(), "w") as file, file.open("a.txt", "w", force_zip64=True) as member:
        member.write(b"one")

    assert "a.txt: its directory entry has " in refusal(buffer.getvalue())


def test_more_members_than_allowed_are_refused_before_they_are_read() -> None:
    content = emit({f"{number:05}": b"" for number in range(MAX_MEMBERS + 1)})

    assert f"an archive has 1 to {MAX_MEMBERS}" in refusal(content)


def test_a_size_that_reaches_beyond_the_directory_is_refused() -> None:
    content = bytearray(emit({"a.txt": b"one"}))
    entry = LOCAL.size + len("a.txt") + len(b"one")
    for position in (18, 22, entry + 20, entry + 24):
        struct.pack_into("<I", content, position, 2**31)

    assert refusal(bytes(content)) == "a.txt: its 2147483648 bytes don't end before the directory"
