"""The page in a real Chromium: whole, quiet, asking nobody, readable on a phone and at a desk, by day and by night, and by a screen reader."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright
from torch import nn

from devices import QUICK
from pipeline.api import compress
from pipeline.report.compare import compare
from pipeline.report.html import comparison_page, run_page, safe_json
from pipeline.report.model import Confusion
from pipeline.report.reading import read_run
from pipeline.teacher import Teacher
from tests.small_report import latency, report, row, write_run
from tests.small_task import Bars, Net

CHROMIUM = shutil.which("chromium")
MOST_BYTES = 3_000_000
HOSTILE = "</script><script>window.run='yes'</script><img src=x onerror=\"window.run='yes'\">{{ 7 * 7 }}"
View = tuple[int, Literal["light", "dark"]]
VIEWS: list[View] = [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")]


class Wide(Bars):
    """Bars with names of classes, and a student wide enough to be pruned for a phone."""

    labels = ("top", "upper", "lower", HOSTILE)

    def teachers(self) -> dict[str, Teacher]:
        return {"wide": Teacher(lambda: Net(32))}

    def student(self) -> nn.Module:
        return Net(32)

    def mistakes(self, outputs: Any, _: Any) -> list[tuple[float, str, str]]:
        return [(1.0, HOSTILE, f"bar {said}") for said in outputs.argmax(1).tolist()]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, measured in a hurry, and its report once more under the name of a second target."""
    folder = tmp_path_factory.mktemp("run")
    short: dict[str, Any] = {name: {"epochs": 1} for name in ("teach", "distill", "prune", "quantize")}
    settings = {**short, "audit": {"on_weak": "skip"}, "budget": {"size_kib": 20, "max_drop": 0.5, "latency_ms": 1.0}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_STORE", str(folder / "store"))
        patch.setattr("pipeline.measure.Request", lambda: QUICK)
        patch.setattr("pipeline.measure.cores", lambda: [0])
        [found] = compress(Wide(), ["raspberry-pi-4"], folder / "out", settings).values()
    write_run(folder / "out", found.model_copy(update={"target": "pixel-8"}))
    return folder / "out"


@pytest.fixture(scope="session")
def page_file(made: Path) -> Path:
    path = made / "report.html"
    path.write_text(run_page(read_run(made)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page, with what it said and asked for."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page, self.said, self.asked = page, list[str](), list[str]()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.route("**/*", lambda route: self._ask(route, path.as_uri()))
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.drawn === 'all'")

    def _hear(self, message: ConsoleMessage) -> None:
        self.said.append(message.text)

    def _ask(self, route: Route, own: str) -> None:
        if route.request.url == own:
            route.continue_()
        else:
            self.asked.append(route.request.url)
            route.abort()


def findings(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds with every table open: the rule, and the first elements that break it."""
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    return [
        (each["id"], [str(node["target"]) for node in each["nodes"]][:3])
        for each in Axe().run(page).response["violations"]
    ]


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: Browser, page_file: Path) -> Iterator[Opened]:
    view: View = getattr(request, "param", (1440, "light"))
    width, scheme = view
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Opened(context.new_page(), page_file)
    context.close()


@pytest.mark.parametrize("opened", VIEWS, indirect=True, ids=lambda view: f"{view[0]}-{view[1]}")
def test_the_page_is_drawn_quiet_asks_nobody_and_passes_axe(opened: Opened) -> None:
    page = opened.page
    plots, drawn = page.locator(".plot").count(), page.locator(".plot[data-drawn=yes] svg").count()
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    assert plots == drawn
    assert drawn >= 20
    assert (opened.said, opened.asked, wide, findings(page)) == ([], [], 0, [])
    assert page.evaluate("window.run") is None


def test_a_comparison_passes_axe_too(browser: Browser, made: Path, tmp_path: Path) -> None:
    run = read_run(made)
    (tmp_path / "comparison.html").write_text(comparison_page(compare([run, run])), encoding="utf-8")
    found = Opened(browser.new_context().new_page(), tmp_path / "comparison.html")

    assert (found.said, found.asked, findings(found.page)) == ([], [], [])


def test_no_name_lies_over_another_on_a_phone(browser: Browser, page_file: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 900})
    page = Opened(context.new_page(), page_file).page

    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('.plot svg')].flatMap(svg => {
            const boxes = [...svg.querySelectorAll('text')].filter(text => text.textContent)
                .map(text => [text.textContent, text.getBoundingClientRect()]);
            return boxes.flatMap(([one, a], i) => boxes.slice(i + 1).filter(([, b]) =>
                Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3
            ).map(([other]) => [one, other]));
        })"""
    )

    context.close()
    assert overlaps == []


def test_every_chart_has_a_title_a_description_and_the_same_figures_as_a_table(opened: Opened) -> None:
    told = opened.page.evaluate(
        """() => [...document.querySelectorAll('.plot')].map(plot => ({
            title: document.getElementById(plot.getAttribute('aria-labelledby')).textContent,
            says: document.getElementById(plot.getAttribute('aria-describedby')).textContent,
            rows: plot.closest('figure').querySelectorAll('tbody tr').length}))"""
    )

    assert [each for each in told if not (each["title"] and each["says"] and each["rows"])] == []


def test_a_table_opens_by_the_keyboard_alone(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("figure summary").first.focus()
    page.keyboard.press("Enter")

    assert page.locator("figure details").first.get_attribute("open") is not None


@pytest.mark.parametrize("opened", [(1440, "dark")], indirect=True)
def test_colours_follow_the_night_and_print_as_by_day(opened: Opened) -> None:
    page = opened.page
    ink = "getComputedStyle(document.querySelector('.plot text')).fill"
    paper = "getComputedStyle(document.body).backgroundColor"
    night = (page.evaluate(paper), page.evaluate(ink))
    page.emulate_media(media="print")

    assert night == ("rgb(20, 23, 28)", "rgb(163, 173, 187)")
    assert (page.evaluate(paper), page.evaluate(ink)) == ("rgb(255, 255, 255)", "rgb(86, 96, 112)")


def test_it_prints_whole_on_a_few_sheets(opened: Opened) -> None:
    pdf = opened.page.pdf(format="A4")

    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 40


def test_the_page_is_small_and_names_what_matters(page_file: Path, opened: Opened) -> None:
    text = opened.page.text_content("body") or ""

    assert page_file.stat().st_size < MOST_BYTES
    for told in (
        "max_drop ≤ 0.5",
        "size_kib ≤ 20 KiB",
        "latency_ms ≤ 1 ms not shown",
        "raspberry-pi-4",
        "pixel-8",
        "sha256",
    ):
        assert told in text, told
    for section in ("The way through the stages", "Latency", "Inside the network", "Mistakes", "How to make it again"):
        assert opened.page.get_by_role("heading", name=section, exact=True).count() >= 1, section


def test_a_run_keeps_what_its_page_needs(made: Path) -> None:
    found = json.loads((made / "raspberry-pi-4" / "report.json").read_text(encoding="utf-8"))
    files = {"teacher wide onnx", "int8 onnx", "int8 tflite", "student alone, tflite by PTQ"}
    timed = {each["model"]: each for each in found["measurements"] if each["quantity"] == "latency"}
    spread = timed["int8 tflite"]["histogram"]

    assert files <= set(timed)
    assert sum(spread["counts"]) + spread["beyond"] == timed["int8 tflite"]["samples"]
    assert sum(sum(row) for row in found["confusion"]["counts"]) == found["test_samples"]
    assert found["mistakes"]["forms"] == ["teacher wide", "prune", "int8 tflite"]
    assert (found["mistakes"]["wrong"], len(found["mistakes"]["worst"])) == (found["test_samples"], 10)
    assert found["layers"]["costs"][0]["macs"] > 0
    assert [times["file"] for times in found["layers"]["times"]] == ["int8 onnx"]
    assert {(pair["one"], pair["other"]) for pair in found["layers"]["pairs"]} == {
        ("torch", "ONNX"),
        ("torch", "TFLite"),
        ("ONNX", "TFLite"),
    }
    assert all(layer["max_lsb"] == 0 for pair in found["layers"]["pairs"] for layer in pair["layers"])
    assert [each["fits"] for each in found["fits"]] == [True, True]
    assert found["reproduction"]["settings"]["distill"]["temperature"] == 4.0


def test_the_worst_answers_stand_on_the_page_once_and_what_they_hold_stays_text(opened: Opened) -> None:
    tables = opened.page.get_by_role("region", name="Table: the worst answers of ")
    cells = tables.first.locator("tbody tr").first.locator("th, td").all_inner_texts()

    assert tables.count() == 2  # one a target
    assert cells[:2] == ["0", HOSTILE]
    assert len(cells) == 5
    assert all(said.startswith("bar ") for said in cells[2:])


def test_classes_that_are_too_many_for_a_picture_are_told_all_the_same(tmp_path: Path) -> None:
    many = Confusion(form="int8", labels=("a", "b"), counts=(), wrong=(("sheep", "goat", 41),))

    text = run_page(read_run(write_run(tmp_path, report(confusion=many))))
    assert '<th scope="row">sheep</th><td>goat</td><td>41</td>' in text


def test_a_page_of_a_task_that_makes_no_mistake_has_no_table_of_them(tmp_path: Path) -> None:
    text = run_page(read_run(write_run(tmp_path, report(confusion=None, mistakes=None))))

    assert "<h3>Mistakes</h3>" not in text


def test_hostile_names_run_nothing_and_stay_text(browser: Browser, tmp_path: Path) -> None:
    bad = report(
        recipe=HOSTILE,
        target="t",
        reference=f"z{HOSTILE}",
        rows=(row(HOSTILE, 0.9, 1000, 10), row(f"{HOSTILE} tflite", 0.9, 1000, 10)),
        measurements=(latency(HOSTILE, 0.1, machine=HOSTILE, how=HOSTILE), latency(f"{HOSTILE} tflite", 0.2)),
        toolchain={HOSTILE: HOSTILE},
    )
    run = read_run(write_run(tmp_path / "run", bad))
    pages = {"one.html": run_page(run), "two.html": comparison_page(compare([run, run]))}
    for name, text in pages.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = Opened(browser.new_context().new_page(), tmp_path / name)

        found.page.locator(".plot .mark-symbol.role-mark path").first.hover()
        assert HOSTILE in found.page.inner_text("#vg-tooltip-element")
        assert found.page.evaluate("window.run") is None
        assert (found.said, found.asked) == ([], [])
        assert found.page.locator("img").count() == 0
        assert "{{ 7 * 7 }}" in found.page.inner_text("header")


def test_json_can_not_end_its_element() -> None:
    written = safe_json({"name": "</script><!--&"})

    assert not set("<>&") & set(written)
    assert json.loads(written) == {"name": "</script><!--&"}
