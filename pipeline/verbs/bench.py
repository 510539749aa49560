"""`edgepress bench`: how fast a file is on a device, and whether the number can be trusted."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.verbs import completion
from pipeline.verbs.options import Json
from pipeline.verbs.printing import console

if TYPE_CHECKING:
    from devices import Device, Request
    from pipeline.benchmark import Benchmark

LOG_WIDTH = 140
"""Characters a line where no terminal says how many it has."""

Model = Annotated[Path, typer.Argument(help="An ONNX or TFLite file.")]
TargetName = Annotated[
    str | None,
    typer.Option("--target", help="A target's name or .toml file.", autocompletion=completion.target_names),
]
Spec = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Where: host, qemu, vela, tflm, ssh://user@board, adb or replay:FILE. [default: host]",
        autocompletion=completion.device_names,
    ),
]
Against = Annotated[Path | None, typer.Option(help="Another file, to take turns with.")]
Inputs = Annotated[Path | None, typer.Option(help="An .npz of samples to measure with; else random ones.")]
Shapes = Annotated[
    list[str] | None, typer.Option("--shape", help="NAME=1x3x224x224, for an input of open size; may be repeated.")
]
Threads = Annotated[int, typer.Option(min=1, max=1024)]
PerLayer = Annotated[bool, typer.Option("--per-layer", help="Show what each operator takes, where the runtime tells.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure anew, whatever was measured before.")]
Quick = Annotated[bool, typer.Option("--quick", help="A first look: too short to be trusted with a verdict.")]
Strict = Annotated[bool, typer.Option("--strict", help="End with 1 when a measurement is invalid.")]


def bench(
    model: Model,
    *,
    target: TargetName = None,
    device: Spec = None,
    against: Against = None,
    inputs: Inputs = None,
    shapes: Shapes = None,
    threads: Threads = 1,
    per_layer: PerLayer = False,
    as_json: Json = False,
    fresh: Fresh = False,
    quick: Quick = False,
    strict: Strict = False,
) -> None:
    """Measure a file on a device, or two in turns, and say how far the figures can be trusted."""
    from devices import open_device  # noqa: PLC0415 - with it numpy and the profiles; --help needs neither
    from pipeline.benchmark import default_device, make_request  # noqa: PLC0415 - as above
    from targets import load_target  # noqa: PLC0415 - as above

    loaded = load_target(target) if target else None
    opened = open_device(device or default_device(loaded), loaded)
    paired = against is not None
    request = make_request(paired=paired, quick=quick, threads=threads, shapes=tuple(shapes or ()), inputs=inputs)
    found = _measure(model, opened, request, against=against, target=loaded, fresh=fresh, per_layer=per_layer)
    _tell(found, as_json=as_json)
    if strict and found.why_invalid:
        raise typer.Exit(1)


def _measure(model: Path, device: "Device", request: "Request", **options: Any) -> "Benchmark":
    from rich.console import Console  # noqa: PLC0415 - as above

    from pipeline.benchmark import benchmark  # noqa: PLC0415 - as above
    from pipeline.store import Store, default_store  # noqa: PLC0415 - as above

    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    with Console(stderr=True).status(f"measuring on {device.name}"):
        return benchmark(model, device, request, Store(default_store()), made_at=now, **options)


def _tell(found: "Benchmark", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
    else:
        from pipeline.bench_text import print_benchmark  # noqa: PLC0415 - with it

        print_benchmark(found, console(LOG_WIDTH))
    for why in found.why_invalid:
        typer.echo(f"edgepress: INVALID {why}", err=True)
