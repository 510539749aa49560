"""`edgepress doctor`: what of this machine and this installation is wrong, or worth knowing, and what to do about it."""

import json

import typer

from pipeline.verbs.options import Json
from pipeline.verbs.printing import console

LOG_WIDTH = 160
"""Characters a line where no terminal says how many it has."""
STYLES = {"ok": "", "note": "yellow", "wrong": "bold red"}


def doctor(*, as_json: Json = False) -> None:
    """Look for versions that clash, names that collide, missing tools and extras, and what makes figures noisy."""
    from pipeline.doctor import examine  # noqa: PLC0415 - only this verb needs it

    found = examine()
    wrong = [finding for finding in found if finding.verdict == "wrong"]
    if as_json:
        rows = [finding.to_json() for finding in found]
        typer.echo(json.dumps({"schema": 1, "passed": not wrong, "findings": rows}, indent=1))
    else:
        from rich.table import Table  # noqa: PLC0415 - only a table needs it
        from rich.text import Text  # noqa: PLC0415 - as above

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("what", "found", "", "what to do"):
            table.add_column(column, overflow="fold")
        for each in found:
            table.add_row(
                Text(each.about), Text(each.found), Text(each.verdict, STYLES[each.verdict]), Text(each.advice)
            )
        console(LOG_WIDTH).print(table)
        names = ", ".join(dict.fromkeys(finding.about for finding in wrong))
        typer.echo(f"wrong: {names}" if wrong else "nothing is wrong")
    if wrong:
        raise typer.Exit(1)
