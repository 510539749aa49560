"""`edgepress check`: the gate of a CI run, on any ONNX or TFLite file."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.verbs import completion
from pipeline.verbs.next_command import after_check, given
from pipeline.verbs.options import Devices

if TYPE_CHECKING:
    from pipeline.gate.settings import Order
    from pipeline.gate.verdict import Report

Models = Annotated[
    list[Path] | None, typer.Argument(help="ONNX or TFLite files; without any, those that edgepress.toml names.")
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", help="A target's name or .toml file; may be repeated.", autocompletion=completion.target_names
    ),
]
Budget = Annotated[list[str] | None, typer.Option("--budget", help="key=limit, e.g. size_kib=56; may be repeated.")]
Baseline = Annotated[Path | None, typer.Option(help="The committed baseline to compare with.")]
Update = Annotated[bool, typer.Option("--update-baseline", help="Accept what is: write it into the baseline.")]
Reference = Annotated[Path | None, typer.Option(help="The file that this one must agree with; needs --samples.")]
Samples = Annotated[Path | None, typer.Option(help="An .npz of inputs, and `labels` where they are known.")]
WaiversFile = Annotated[Path | None, typer.Option("--waivers", help="A .toml file of excused findings.")]
Format = Annotated[str, typer.Option("--format", help="text, json, junit, sarif, github or markdown.")]
Out = Annotated[
    list[Path] | None,
    typer.Option(
        "--out",
        help="Write a report here, in the form of its suffix (.json .xml .sarif .md .txt) or else --format; may be repeated.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail on warnings too, and on budget lines that aren't shown.")]
Config = Annotated[Path | None, typer.Option(help="A file of settings; default: edgepress.toml, where there is one.")]
Explain = Annotated[
    str | None, typer.Option("--explain", help="Say what a finding's code means, and end; 'all' lists them.")
]


def check(
    context: typer.Context,
    models: Models = None,
    *,
    target: Targets = None,
    budget: Budget = None,
    device: Devices = None,
    baseline: Baseline = None,
    update_baseline: Update = False,
    reference: Reference = None,
    samples: Samples = None,
    waivers: WaiversFile = None,
    form: Format = "text",
    out: Out = None,
    strict: Strict = False,
    config: Config = None,
    explain: Explain = None,
) -> None:
    """Judge model files: what is wrong with them for a target, their budget, and what changed since the baseline."""
    if explain is not None:
        _explain(explain)
        return
    from pipeline.gate.budget import read_budget  # noqa: PLC0415 - this and what follows: only this verb needs them
    from pipeline.gate.formats import renderer  # noqa: PLC0415 - as above
    from pipeline.gate.settings import Changes, order_of  # noqa: PLC0415 - as above
    from pipeline.places import read_places  # noqa: PLC0415 - as above

    renderer(form)  # a wrong name is told before anything is measured
    limits, places = read_budget(budget or []), read_places(device or [])
    changes = Changes(tuple(target or ()), limits, reference, samples, places, baseline, waivers)
    order = order_of(models or [], config, changes)
    report = _judged(replace(order, update_baseline=update_baseline, strict=strict))
    _tell(report, form, out or [])
    if not report.passed:
        if form == "text":
            after_check(report, given(context))
        raise typer.Exit(1)


def _explain(code: str) -> None:
    from pipeline.gate.codes import known_codes, look_up  # noqa: PLC0415 - only this option needs them

    if code == "all":
        for name, meant in sorted(known_codes().items()):
            typer.echo(f"{name:<24} {meant.meaning}")
        return
    meant = look_up(code)
    typer.echo(f"{code}: {meant.meaning}\nwhy: {meant.why}\nfix: {meant.fix}")


def _judged(order: "Order") -> "Report":
    from pipeline.gate.check import Clock  # noqa: PLC0415 - both runtimes' libraries
    from pipeline.gate.check import check as judge  # noqa: PLC0415 - as above
    from pipeline.store import Store, default_store  # noqa: PLC0415 - as above

    now = datetime.now(tz=UTC)
    clock = Clock(now.date(), now.isoformat(timespec="seconds"))
    return judge(order, lambda: Store(default_store()), clock)


def _tell(report: "Report", form: str, out: list[Path]) -> None:
    """Write the files that were asked for, and print the report: as text where a file has the other form."""
    from pipeline.gate.baseline import write_whole  # noqa: PLC0415 - only a report needs them
    from pipeline.gate.formats import format_of, renderer  # noqa: PLC0415 - as above

    forms = {path: format_of(path, form) for path in out}
    for path, written in forms.items():
        write_whole(path, renderer(written)(report))
    shown = "text" if form in forms.values() else form
    text = renderer(shown)(report)
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)
