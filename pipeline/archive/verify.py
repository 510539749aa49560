"""Verify: is an archive, byte for byte, what somebody packed, and do its parts tell of the same things?

In this order, and nothing is parsed before what stands before it holds: the form (`form`), the index and every member's digest (`reader`), the
signature, then the contents (`consistency`), read as JSON within bounds. A model file is never opened.

Without a signature by a key that the reader trusts, this shows damage and contradiction, not who made the archive.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.archive import signature
from pipeline.archive.consistency import inconsistent
from pipeline.archive.reader import INDEX, PUBLIC_KEY, SIGNATURE, Archive, read_archive
from pipeline.errors import ArchiveError


@dataclass(frozen=True)
class Verification:
    """What was found: `problems` name the member and why; `signed_by` is the fingerprint of the key whose signature holds."""

    problems: tuple[str, ...]
    members: int = 0
    signed_by: str | None = None
    known_key: bool = False

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        verdict = "pass" if self.passed else "fail"
        signed = {"signed_by": self.signed_by, "key_given": self.known_key}
        return {"verdict": verdict, "problems": list(self.problems), "members": self.members, **signed}


def verify(path: Path, *, key: Path | None = None) -> Verification:
    """Verify an archive; with `key`, a public one, its signature is required. ModelError where a file can't be read."""
    trusted = signature.read_public(key) if key is not None else None
    try:
        archive = read_archive(path)
    except ArchiveError as error:
        return Verification(problems=(str(error),))
    if altered := archive.altered():
        return Verification(problems=altered, members=len(archive.members))
    problem, signed_by = _signature(archive, trusted)
    contents = {name: archive.content(name) for name in archive.members}
    problems = (problem,) if problem else inconsistent(contents)
    return Verification(problems, len(archive.members), signed_by, known_key=trusted is not None)


def signer(archive: Archive) -> bytes | None:
    """Return the public key that an archive carries, unchecked; None where it isn't signed, or not well."""
    return signature.from_pem(archive.content(PUBLIC_KEY)) if PUBLIC_KEY in archive.members else None


def _signature(archive: Archive, trusted: bytes | None) -> tuple[str | None, str | None]:
    """Return what is wrong with the signature, and whose it is; neither where there is none and none was asked for."""
    parts = [name for name in (SIGNATURE, PUBLIC_KEY) if name in archive.members]
    if not parts:
        return (
            None if trusted is None else f"{SIGNATURE} is missing: the archive isn't signed, and --key asks for it"
        ), None
    if len(parts) == 1:
        return f"{parts[0]} stands alone; a signature and its public key come together", None
    public = signer(archive)
    if public is None:
        return f"{PUBLIC_KEY}: it is no ed25519 public key as PEM", None
    if trusted is not None and public != trusted:
        return (
            f"{PUBLIC_KEY}: signed by another key, {signature.fingerprint(public)}; the one given is {signature.fingerprint(trusted)}",
            None,
        )
    if not signature.is_signed_by(archive.content(INDEX), archive.content(SIGNATURE), public):
        return f"{SIGNATURE}: it isn't the signature of {INDEX} by the key {signature.fingerprint(public)}", None
    return None, signature.fingerprint(public)
