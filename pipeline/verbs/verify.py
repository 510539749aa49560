"""`edgepress verify`: whether an archive is whole, and whose it is, before anything is done with it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.verbs.options import Json

if TYPE_CHECKING:
    from pipeline.archive.verify import Verification

File = Annotated[Path, typer.Argument(help="An archive that `edgepress pack` wrote.")]
Key = Annotated[Path | None, typer.Option(help="The public key, PEM or OpenSSH's; a signature by it is then required.")]


def verify(file: File, *, key: Key = None, as_json: Json = False) -> None:
    """Check an archive byte for byte: its form, every member's digest, the signature, and that its parts agree."""
    from pipeline.archive.verify import verify as judge  # noqa: PLC0415 - pydantic models of a report

    found = judge(file, key=key)
    typer.echo(json.dumps(found.to_json(), indent=1) if as_json else _to_text(found))
    if not found.passed:
        raise typer.Exit(1)


def _to_text(found: "Verification") -> str:
    if not found.passed:
        return "\n".join(["FAILED", *found.problems])
    if found.signed_by is None:
        signed = "not signed: whole, but nobody vouches for it"
    elif found.known_key:
        signed = f"signed by the key given, {found.signed_by}"
    else:
        signed = f"signed by the key that it carries, {found.signed_by}; --key PUBLIC.pem says whether that is the one you trust"
    return f"passed: {found.members} members, each as it was packed\n{signed}"
