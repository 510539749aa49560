"""The report as one HTML page that needs nothing else: style, drawing script and charts lie in it, and it asks no network.

Text from outside is escaped by Jinja2. Charts stand as JSON in which `<`, `>` and `&` are written as escapes, so that no text can end it.
The page's own policy lets its scripts run, by their hashes, and nothing else; expressions of charts are interpreted, never evaluated.
"""

import base64
import hashlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.errors import MissingExtraError
from pipeline.report.compare import LETTERS, Comparison
from pipeline.report.model import Report
from pipeline.report.reading import Run, Trials
from pipeline.report.text import WORST, Sheet, sheets, worst_answers
from pipeline.report.toml import toml

PAGE = Path(__file__).with_name("page")
DRAWS = ("altair", "jinja2", "vl_convert")
ELSEWHERE = ("latency of one inference", "budget", "ledger", WORST)
"""Tables of the report that stand elsewhere on its page."""


@dataclass(frozen=True)
class Section:
    """Figures under a heading, and tables without a chart."""

    title: str
    figures: tuple[Any, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    says: str = ""


def check_installed() -> None:
    """Raise MissingExtraError where what draws the report isn't installed."""
    for name in DRAWS:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"report.html needs {error.name}, which isn't installed; pip install 'edgepress[report]'"
            ) from error


def run_page(run: Run) -> str:
    """Return a run's page."""
    check_installed()
    from pipeline.report.figures import in_bytes  # noqa: PLC0415 - Altair, of the extra
    from pipeline.report.standing import COLUMNS, standing  # noqa: PLC0415 - as above

    chapters = [
        (report, standing(report), tuple(_sections(report, run.trials)), _tables(report)) for report in run.reports
    ]
    return rendered("run.html", title=run.name, chapters=chapters, columns=COLUMNS, toml=toml, in_bytes=in_bytes)


def comparison_page(found: Comparison) -> str:
    """Return the page of runs side by side."""
    check_installed()
    from pipeline.report.figures import side_by_side  # noqa: PLC0415 - Altair, of the extra

    figures = tuple(side_by_side(found.runs))
    return rendered(
        "compare.html", title="What changed, and what it did", found=found, letters=LETTERS, figures=figures
    )


def rendered(template: str, **content: Any) -> str:
    """Return a page by one of the templates in `page/`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - of the extra

    environment = Environment(
        loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    specs: dict[str, Any] = {}

    def add(spec: dict[str, Any]) -> str:
        name = f"chart-{len(specs) + 1}"
        specs[name] = spec
        return name

    scripts = (library(), (PAGE / "draw.js").read_text(encoding="utf-8"))
    return environment.get_template(template).render(
        **content,
        add_chart=add,
        charts=lambda: safe_json(specs),
        style=_colours() + (PAGE / "style.css").read_text(encoding="utf-8"),
        scripts=scripts,
        policy=_policy(scripts),
        edgepress=version("edgepress"),
    )


def safe_json(value: Any) -> str:
    """Return JSON that can't end the element that it stands in, nor open a comment there."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script."""
    import vl_convert  # noqa: PLC0415 - of the extra

    script = vl_convert.javascript_bundle("window.vegaEmbed=vegaEmbed;")
    assert "</script" not in script.lower()
    return script


def _sections(report: Report, trials: Trials | None) -> Iterator[Section]:
    from pipeline.report import figures  # noqa: PLC0415 - Altair, of the extra
    from pipeline.report.layer_figures import layer_figures  # noqa: PLC0415 - as above

    yield Section("The way through the stages", tuple(figures.way(report)))
    own = trials if trials and trials.recipe == report.recipe else None
    searched = figures.search(own, report.target) if own else None
    yield Section("What it costs and what it keeps", (*figures.against(report), *([searched] if searched else [])))
    if latencies := tuple(figures.latencies(report)):
        yield Section("Latency", latencies)
    if report.layers and (inside := tuple(layer_figures(report.layers))):
        yield Section("Inside the network", inside)
    yield from _mistakes(report)
    if account := tuple(sheet for sheet in sheets(report) if sheet.title == "ledger"):
        yield Section("Ledger", sheets=tuple(replace(sheet, title="") for sheet in account))


def _mistakes(report: Report) -> Iterator[Section]:
    """Give what is mistaken: classes for one another, and single answers, as far as the task tells of them."""
    from pipeline.report import figures  # noqa: PLC0415 - Altair, of the extra

    found = report.confusion
    matrix = figures.confusion(found) if found else None
    wrong = tuple((true, answer, str(count)) for true, answer, count in found.wrong) if found else ()
    tables = (Sheet("", ("true class", "answered", "times"), wrong), worst_answers(report))
    shown = tuple(sheet for sheet in tables if sheet.rows)
    if matrix or shown:
        yield Section("Mistakes", (matrix,) if matrix else (), shown)


def _tables(report: Report) -> tuple[Sheet, ...]:
    return tuple(sheet for sheet in sheets(report) if sheet.title not in ELSEWHERE)


def _colours() -> str:
    from pipeline.report.charts import COLOURS  # noqa: PLC0415 - Altair, of the extra

    light, dark = ("".join(f"--{name}:{both[number]};" for name, both in COLOURS.items()) for number in (0, 1))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"


def _policy(scripts: tuple[str, ...]) -> str:
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    return f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
