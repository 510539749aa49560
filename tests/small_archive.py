"""Archives for tests: packed once from a small run, taken apart, altered as a forger would, and put together again."""

import subprocess
from pathlib import Path

from pipeline.archive.form import emit, read
from pipeline.archive.reader import INDEX, OUTSIDE, index_of

Members = dict[str, bytes]


def members_of(archive: Path) -> Members:
    return {name: bytes(member.content) for name, member in read(archive.read_bytes()).items()}


def indexed(members: Members) -> Members:
    """Give the members an index that names them as they are now, and no signature."""
    inside = {name: content for name, content in members.items() if name not in OUTSIDE}
    return {**inside, INDEX: index_of(inside).to_bytes()}


def written(path: Path, members: Members) -> Path:
    path.write_bytes(emit(members))
    return path


def write_keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """Make a private and a public key with openssl, as the README says."""
    private, public = folder / f"{name}.pem", folder / f"{name}-public.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public
