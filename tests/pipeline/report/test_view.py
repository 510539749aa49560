"""A report in a terminal and in a notebook's cell: the promise, the stages, the files, and no power to what stands in it."""

from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from pipeline.report.model import Report
from pipeline.report.text import sheets
from pipeline.report.view import Reports
from tests.small_report import latency, report, row

HOSTILE = "</td><script>window.run='yes'</script><img src=x>[bold red]\x1b[2J\x1b]0;owned\x07"
ELEMENTS = {"p", "h4", "table", "thead", "tbody", "tr", "th", "td", "br", "details", "summary"}


class Read(HTMLParser):
    """A page as a browser reads it: its elements, their attributes, and the text of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.attributes, self.texts = set[str](), list[object](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def printed(shown: object) -> str:
    stream = StringIO()
    Console(file=stream, width=220, force_terminal=True, color_system=None).print(shown)
    return stream.getvalue()


def test_both_views_tell_the_promise_each_stage_with_its_latency_and_the_files() -> None:
    shown = report().with_files([Path("out/pi/model.tflite"), Path("out/pi/report.md")])
    terminal, page = printed(shown), Read(shown._repr_html_()).texts

    verdict = "bars on raspberry-pi-4: FAILED. The fidelity gate passed; max_drop, int8 tflite missed"
    assert terminal.startswith(verdict)
    assert page[0].startswith(verdict)
    cells = [
        "int8 tflite",
        "0.9100 [0.8900, 0.9300]",
        "1,000",
        "500,000",
        "26.4 KiB",
        "1.0 s",
        "0.09 ms, measured on host",
    ]
    [line] = [line for line in terminal.splitlines() if "26.4 KiB" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == cells
    assert page[page.index("int8 tflite") :][: len(cells)] == cells
    assert "model.tflite, report.md in out/pi" in terminal.splitlines()
    assert "model.tflite, report.md in out/pi" in page


def test_an_estimated_gain_says_so_and_by_what_its_interval_stands() -> None:
    gain = report().gains[0]
    estimated = gain.latency[0].model_copy(update={"label": "estimated", "device": "pi"})
    [sheet] = [
        each
        for each in sheets(report(gains=(gain.model_copy(update={"latency": (gain.latency[0], estimated)}),)))
        if each.title == "what it gains"
    ]

    measured, banded = sheet.rows[0][-1].splitlines()
    assert measured.startswith("host, 1 thread: 0.800 to 0.090 ms, 0.11")
    assert banded.startswith("pi, 1 thread: 0.800 to 0.090 ms estimated, by its error bands, 0.11")


def test_a_notebook_has_every_table_and_note_of_the_report_once() -> None:
    texts = Read(report()._repr_html_()).texts

    assert [texts.count(sheet.title) for sheet in sheets(report())] == [1] * len(sheets(report()))
    assert [note for sheet in sheets(report()) for note in sheet.notes if note not in texts] == []


def test_an_estimate_and_a_disturbed_figure_say_what_they_are() -> None:
    target = {"device": "raspberry-pi-4", "label": "estimated"}
    figures = (latency("int8 onnx", 0.1, valid=False, why_invalid="busy"), latency("int8 tflite", 0.2, **target))

    terminal = printed(report(measurements=figures))
    assert "0.1 ms, measured on host, INVALID" in terminal
    assert "0.2 ms, estimated on raspberry-pi-4" in terminal
    assert "latency, one thread" not in printed(report(measurements=()))


@pytest.mark.parametrize(
    ("lines", "word"), [((0,), "FAILED"), ((1,), "passed"), ((1, 2), "passed, as far as it is shown"), ((), "passed")]
)
def test_what_nothing_showed_is_not_told_as_kept(lines: tuple[int, ...], word: str) -> None:
    shown = report(verdicts=tuple(report().verdicts[line] for line in lines))

    assert printed(shown).startswith(f"bars on raspberry-pi-4: {word}. The fidelity gate passed")


def test_hostile_names_stay_text_in_both_views() -> None:
    rows = (row(HOSTILE, 0.9, 1000, 10),)
    bad = report(recipe=HOSTILE, target=HOSTILE, rows=rows, reference=HOSTILE, measurements=(latency(HOSTILE, 0.1),))
    terminal, page = printed(Reports({HOSTILE: bad})), Read(Reports({HOSTILE: bad})._repr_html_())

    assert {"\x1b", "\x07"} & set(terminal) == set()
    assert "[bold red]\\x1b[2J\\x1b]0;owned\\x07" in terminal
    assert page.elements <= ELEMENTS
    assert page.attributes == []
    assert HOSTILE in page.texts


def test_reports_by_target_show_themselves_one_after_the_other() -> None:
    both = Reports({name: report(target=name) for name in ("raspberry-pi-4", "pixel-8")})

    assert printed(both).index("bars on raspberry-pi-4:") < printed(both).index("bars on pixel-8:")
    assert both._repr_html_() == both["raspberry-pi-4"]._repr_html_() + both["pixel-8"]._repr_html_()


def test_where_files_lie_is_no_part_of_the_record() -> None:
    told = report().with_files([Path("out/model.tflite")])

    assert told.to_json() == report().to_json()
    with pytest.raises(ValidationError):
        Report.model_validate({**told.to_json(), "_files": ["out/model.tflite"]})
