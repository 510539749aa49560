"""The command line, one verb a function, each thin: it reads arguments, calls the library, prints.

Exit codes: 0 done; 1 a gate or a budget failed; 2 the user's input was wrong, said in one line on stderr; 130 stopped by
Ctrl-C. A traceback is our bug. What only one verb needs is imported inside it: `--help` must not wait for torch.
"""

import errno
import json
import os
import shlex
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import EdgepressError, StoreWarning
from pipeline.plain import plain
from pipeline.verbs.bench import bench
from pipeline.verbs.check import check
from pipeline.verbs.devices import devices
from pipeline.verbs.doctor import doctor
from pipeline.verbs.fit import fit
from pipeline.verbs.next_command import after_run, given
from pipeline.verbs.options import Cluster, Devices, Json, RecipePath, Targets, WorkerCount
from pipeline.verbs.pack import pack
from pipeline.verbs.printing import print_reports, stdout_kept
from pipeline.verbs.report import report as report_verb
from pipeline.verbs.report import write_at_end
from pipeline.verbs.targets import targets
from pipeline.verbs.teachers import teachers
from pipeline.verbs.verify import verify

if TYPE_CHECKING:
    from pipeline.report.model import Report

IN_COMPRESS = (
    "torch",
    "torchao",
    "torch_pruning",
    "lightning_fabric",
    "litert_torch",
    "safetensors",
    "ai_edge_quantizer",
)
"""Modules that the light install leaves out."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From a trained PyTorch network to int8 ONNX and TFLite files that are proven equal.",
)

Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, e.g. prune.keep_macs=0.4; may be repeated.")
]
Logs = Annotated[
    list[str] | None,
    typer.Option("--log", help="csv, tensorboard or mlflow: log epochs and figures into OUT/logs; may be repeated."),
]
ONLY_OF_RUN = ("strict", "fresh", "log")
"""What `fit` doesn't take."""
MOST_TOLD = 2000
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
STOPPED = 130


def main() -> None:
    """Run the command line; turn an EdgepressError into one line on stderr and exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # as stderr does: a file's name may hold what can't be written
    warnings.showwarning = partial(_tell_warning, warnings.showwarning)
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name not in IN_COMPRESS:
            raise
        needs = f"this verb needs {error.name}, which the light install leaves out; pip install 'edgepress[compress]'"
        print(f"edgepress: {needs}", file=sys.stderr)  # noqa: T201 - as below
        sys.exit(2)
    except EdgepressError as error:
        print(f"edgepress: {plain(' '.join(str(error).split()), most=MOST_TOLD)}", file=sys.stderr)  # noqa: T201 - the one place where an error is told
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        _tell_of_no_room(error)
        sys.exit(2)
    except SystemExit as end:
        if end.code == STOPPED:  # typer turns Ctrl-C into this
            print("edgepress: interrupted; what is finished is kept, and the same command goes on", file=sys.stderr)  # noqa: T201 - as above
        raise


def _tell_warning(others: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Tell a warning of our own as an error is told; the place in the code helps nobody."""
    if not issubclass(category, StoreWarning):
        others(message, category, *where)
        return
    print(f"edgepress: {plain(' '.join(str(message).split()), most=MOST_TOLD)}", file=sys.stderr)  # noqa: T201 - as above


def _tell_of_no_room(error: OSError) -> None:
    """Say what couldn't be written; if that was stdout, nothing tries again when Python ends (docs.python.org/3/library/signal.html#note-on-sigpipe)."""
    where = plain(str(error.filename or "the output, or a temporary file"), most=MOST_TOLD)
    told = f"no room to write {where} ({error.strerror}); free some space there, then run again"
    print(f"edgepress: {told}", file=sys.stderr)  # noqa: T201 - as above
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it so
    if asked:
        print(f"edgepress {version('edgepress')}")  # noqa: T201 - the answer
        raise typer.Exit


@app.callback()
def about(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """From a trained PyTorch network to int8 ONNX and TFLite files that are proven equal."""


@app.command()
def run(
    context: typer.Context,
    recipe: RecipePath,
    *,
    target: Targets = None,
    out: Annotated[Path, typer.Option(help="Where the files and reports go.")] = Path("build"),
    settings: Settings = None,
    device: Devices = None,
    strict: Annotated[bool, typer.Option(help="Fail when a budget line is not shown.")] = False,
    fresh: Annotated[bool, typer.Option(help="Measure anew, whatever was measured before.")] = False,
    workers: WorkerCount = 1,
    cluster: Cluster = "",
    log: Logs = None,
    as_json: Json = False,
) -> None:
    """Make a recipe's files for each of its targets, prove and measure them."""
    from pipeline.api import press  # noqa: PLC0415 - torch
    from pipeline.console import watching  # noqa: PLC0415 - with it
    from pipeline.logs import logged  # noqa: PLC0415 - with it
    from pipeline.workers import workers as hired  # noqa: PLC0415 - with it

    reports = []
    try:
        with stdout_kept(for_json=as_json):
            loaded = _load(recipe, settings, target)
            with watching() as watched, logged(watched, log or [], out) as watcher, hired(workers, cluster) as crew:
                for report in press(*loaded, out=out, devices=device or [], fresh=fresh, watcher=watcher, crew=crew):
                    reports.append(report)  # an error on a later target must not lose those before it
                    watcher.report(loaded[0], report)
    except EdgepressError:
        if not as_json:
            print_reports(reports)
        raise
    write_at_end(reports, out)
    if as_json:
        typer.echo(json.dumps([report.to_json() for report in reports], indent=1))
    else:
        print_reports(reports)
        after_run(loaded[0], reports, out, search=given(context, leave_out=ONLY_OF_RUN))
    _end(reports, strict=strict)


def _end(reports: "list[Report]", *, strict: bool) -> None:
    """End with 1 where a report failed, or a line of its budget isn't shown and that counts."""
    shown = all(verdict.outcome != "not_shown" for report in reports for verdict in report.verdicts)
    if not all(report.passed for report in reports) or (strict and not shown):
        raise typer.Exit(1)


@app.command()
def explain(recipe: RecipePath, *, target: Targets = None, settings: Settings = None) -> None:
    """Say for each step whether it is in the store, and which part of its key changed since the last run."""
    from pipeline.api import explain as outlooks  # noqa: PLC0415 - torch

    for name, outlook in outlooks(*_load(recipe, settings, target)):
        why = "cached" if outlook.cached else f"will run: {', '.join(outlook.changed)}"
        typer.echo(f"{name}  {outlook.step:<32} {why}")


@app.command()
def inspect(
    artifact: Annotated[Path, typer.Argument(help="An artifact's folder, an archive, or an ONNX or TFLite file.")],
    *,
    as_json: Json = False,
) -> None:
    """Show what is inside an artifact, an archive or a model file, and verify every digest."""
    from pipeline.inspection import describe, to_text  # noqa: PLC0415 - onnx

    facts = describe(artifact)
    typer.echo(json.dumps(facts, indent=1) if as_json else to_text(facts))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="An empty or new folder.")]) -> None:
    """Write a task and a recipe that work, to start from."""
    from pipeline.starter import write_starter  # noqa: PLC0415 - only this verb needs it

    for path in write_starter(folder):
        typer.echo(f"wrote {path}")
    typer.echo(f"now: {shlex.join(['edgepress', 'run', str(folder / 'recipe.toml')])}")


@app.command()
def gc(
    keep_days: Annotated[float, typer.Option(min=0, help="Keep what the runs of so many days made or used.")] = 14,
) -> None:
    """Free what no recent run needs, and say how much that was."""
    from pipeline.store import Store, default_store  # noqa: PLC0415 - only this verb needs it here

    store = Store(default_store())
    freed = store.collect_garbage(keep_days)
    typer.echo(f"{store.root}: freed {freed.size_bytes / 2**20:.1f} MiB in {freed.objects} objects")


app.command(name="check")(check)


app.command(name="bench")(bench)
app.command(name="devices")(devices)
app.command(name="doctor")(doctor)
app.command(name="fit")(fit)
app.command(name="pack")(pack)
app.command(name="report")(report_verb)
app.command(name="targets")(targets)
app.command(name="teachers")(teachers)
app.command(name="verify")(verify)


def _load(recipe: Path, settings: list[str] | None, target: list[str] | None) -> tuple[Any, Any]:
    from pipeline.api import load  # noqa: PLC0415 - torch

    return load(recipe, settings=settings or [], targets=target or [])


if __name__ == "__main__":
    main()
