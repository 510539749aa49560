"""`edgepress pack`: one file that travels, out of what a run left for one target."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path,
    typer.Argument(
        help="What a run left for one target, e.g. build/raspberry-pi-4; with report.html in it, or the run's, if of it alone."
    ),
]
Out = Annotated[Path | None, typer.Option(help="The archive; default: RECIPE-TARGET.edgepress in that folder.")]
Sign = Annotated[
    Path | None, typer.Option(help="An ed25519 private key; openssl genpkey -algorithm ed25519 makes one.")
]


def pack(folder: Folder, *, out: Out = None, sign: Sign = None) -> None:
    """Pack a run's models, report, recipe, environment, model card and bill of materials into one file, signed if you like."""
    from pipeline.archive.pack import pack as write  # noqa: PLC0415 - onnx

    path = write(folder, out=out, key=sign, say=partial(typer.echo, err=True))
    typer.echo(f"wrote {path} ({path.stat().st_size / 1024:.1f} KiB{', signed' if sign else ', not signed'})")
