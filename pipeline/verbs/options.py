"""What several verbs ask for alike."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.verbs import completion

RecipePath = Annotated[
    Path,
    typer.Argument(
        help="A recipe's .toml file, or the name of one that ships, e.g. digits.", autocompletion=completion.recipes
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        help="A target's name or .toml file, instead of the recipe's own; may be repeated.",
        autocompletion=completion.target_names,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device", help="[TARGET=]SPEC, where to measure; may be repeated.", autocompletion=completion.places
    ),
]
WorkerCount = Annotated[int, typer.Option("--workers", help="So many things at once on this machine, by Ray.")]
Cluster = Annotated[str, typer.Option(help="The address of a Ray cluster that works instead of this machine.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")]
