"""Every format shows every report, whatever names a model's author has thought of."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from junitparser import Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from sarif_kit.validate import validation_errors

from pipeline.errors import RecipeError
from pipeline.gate.formats import format_of, formats, renderer
from pipeline.gate.formats.markdown import MAX_CHARACTERS
from pipeline.gate.verdict import Change, Line, Report
from tests.small_gate import HOSTILE, check, finding, hostile_report

EVERY_FORMAT = ("github", "json", "junit", "markdown", "sarif", "text")
EMPTY = Report((check(),))
COMMAND = re.compile(r"^::(error|warning|notice) file=([^,:]+),title=([^,:]*)::(.*)$")


def sarif(report: Report) -> dict[str, Any]:
    log: dict[str, Any] = json.loads(renderer("sarif")(report))
    return log


def results(report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sarif(report)["runs"][0]["results"]
    return found


def suites(report: Report) -> list[Any]:
    return list(JUnitXml.fromstring(renderer("junit")(report).encode()))


def unescaped(text: str) -> str:
    return text.replace("%3A", ":").replace("%2C", ",").replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")


def test_the_formats_are_those_that_the_help_names() -> None:
    assert formats() == EVERY_FORMAT


def test_an_unknown_format_gets_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match=r"no format 'jsn'.*did you mean 'json'"):
        renderer("jsn")


@pytest.mark.parametrize("name", EVERY_FORMAT)
@pytest.mark.parametrize("report", [EMPTY, Report(()), hostile_report(), hostile_report(strict=True)])
def test_every_format_renders_every_report_the_same_way_twice(name: str, report: Report) -> None:
    first, second = renderer(name)(report), renderer(name)(report)

    assert first == second
    assert first.endswith("\n")
    first.encode()


@pytest.mark.parametrize("name", ["text", "github", "junit", "markdown", "sarif"])
def test_no_control_character_reaches_a_terminal(name: str) -> None:
    text = renderer(name)(hostile_report())

    assert [char for char in text.replace("\n", "") if not char.isprintable()] == []


@pytest.mark.parametrize("name", ["text", "github"])
def test_no_name_becomes_a_workflow_command(name: str) -> None:
    text = renderer(name)(hostile_report())
    commands = [line for line in text.splitlines() if line.lstrip().startswith("::")]

    assert "##[" not in text
    assert all(COMMAND.match(line) for line in commands)
    assert (len(commands) == 0) == (name == "text")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.sarif", "sarif"),
        ("a.xml", "junit"),
        ("a.md", "markdown"),
        ("a.json", "json"),
        ("a.txt", "text"),
        ("a.log", "github"),
    ],
)
def test_a_file_is_written_in_the_form_of_its_suffix(path: str, expected: str) -> None:
    assert format_of(Path(path), "github") == expected


# text


def test_text_ends_with_the_verdict() -> None:
    failed = renderer("text")(Report((check(finding("float-op", "error"), finding("unused-op", "note")),)))

    assert renderer("text")(EMPTY).splitlines()[-1] == "passed: 1 check, 0 errors, 0 warnings, 0 notes"
    assert failed.splitlines()[-1] == "FAILED: 1 check, 1 error, 0 warnings, 1 note"


def test_text_says_the_reason_and_the_remedy_once_a_code_and_counts_what_it_leaves_out() -> None:
    text = renderer("text")(Report((check(*(finding("float-op", "error", f"layer{n}") for n in range(9))),)))

    assert text.count("why: ") == text.count("fix: ") == 1
    assert text.count("float-op at") == 5
    assert "float-op: 4 more like these" in text


def test_text_tells_each_thing_once() -> None:
    missed = Line("size_kib", 1.0, 1.5, 1.5, 1.5, "exact", "missed", "read")
    grew = Change("size", 1, 2, "worse", "1 -> 2 KiB")
    found = (
        finding("budget-missed", "error", "size_kib"),
        finding("baseline-size", "error", "size", "size: 1 -> 2 KiB"),
    )
    text = renderer("text")(Report((check(*found, budget=(missed,), changes=(grew,)),)))

    assert text.count("1 -> 2 KiB") == 1
    assert "baseline-size: size: 1 -> 2 KiB" in text
    assert "MISSED" not in text


# JSON


def test_json_holds_names_as_they_are() -> None:
    document = json.loads(renderer("json")(hostile_report()))
    found = document["checks"][0]

    assert [each["where"] for each in found["findings"][: len(HOSTILE)]] == list(HOSTILE)
    assert set(found) >= {"model", "format", "target", "verdict", "findings", "facts"}
    assert (document["verdict"], found["verdict"], document["checks"][1]["verdict"]) == ("fail", "fail", "pass")


def test_json_tells_numbers_that_it_does_not_have_as_texts() -> None:
    broken = check(facts={"scales": [float("nan"), float("inf"), 1.0], "nested": {"low": float("-inf")}})
    facts = json.loads(renderer("json")(Report((broken,))))["checks"][0]["facts"]

    assert facts == {"scales": ["nan", "inf", 1.0], "nested": {"low": "-inf"}}


# JUnit


def test_junit_is_read_by_a_parser_with_the_right_counts() -> None:
    full, clean, waivers = suites(hostile_report())
    cases = list(full)
    counted = {
        kind: sum(isinstance(each, kind) for case in cases for each in case.result) for kind in (Failure, Skipped)
    }

    assert (full.tests, full.failures, full.errors, full.skipped) == (len(cases), counted[Failure], 0, counted[Skipped])
    assert counted == {Failure: len(HOSTILE), Skipped: len(HOSTILE) + 1}
    assert (clean.tests, clean.failures) == (1, 0)
    assert (waivers.tests, waivers.failures) == (1, 1)


def test_junit_keeps_to_the_attributes_and_the_order_of_the_schema() -> None:
    root = ET.fromstring(renderer("junit")(hostile_report()))  # noqa: S314 - our own output
    allowed = {
        "testsuites": {"name", "time", "tests", "failures", "errors"},
        "testsuite": {"name", "tests", "failures", "errors", "skipped"},
        "testcase": {"name", "classname"},
        "failure": {"type", "message"},
        "skipped": {"type", "message"},
        "system-out": set(),
    }

    assert root.tag == "testsuites"
    assert [(each.tag, set(each.attrib)) for each in root.iter() if not set(each.attrib) <= allowed[each.tag]] == []


def test_a_budget_line_is_one_test_case_however_it_ends() -> None:
    kept, missed = (
        [case.name for suite in suites(report) for case in suite if case.name.startswith("budget ")]
        for report in (hostile_report(), Report((check(finding("budget-missed", "error", "size_kib")),)))
    )

    assert "budget size_kib" in kept
    assert missed == ["budget size_kib"]


# SARIF


@pytest.mark.parametrize("report", [EMPTY, Report(()), hostile_report(), hostile_report(strict=True)])
def test_sarif_is_valid_by_the_schema(report: Report) -> None:
    assert validation_errors(sarif(report)) == []


def test_sarif_names_the_file_by_a_relative_address_and_the_layer_by_its_name() -> None:
    [result] = results(Report((check(finding("float-op", "error", "head/conv"), model="my models/a%b.tflite"),)))
    location = result["locations"][0]

    assert location["physicalLocation"]["artifactLocation"]["uri"] == "my%20models/a%25b.tflite"
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "head/conv"


def test_sarif_tells_a_waiver_as_a_suppression_and_every_result_has_its_rule() -> None:
    run = sarif(hostile_report())["runs"][0]
    suppressed = [result for result in run["results"] if "suppressions" in result]

    assert len(suppressed) == len(HOSTILE)
    assert all(run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"] for each in run["results"])


def test_sarif_knows_a_finding_again_when_only_its_figures_changed() -> None:
    first, second, other = (
        results(Report((check(finding("budget-missed", "error", where, message)),)))[0]["partialFingerprints"]
        for where, message in (("macs", "1,200"), ("macs", "1,300"), ("size_kib", "1,200"))
    )

    assert first == second
    assert first != other


# GitHub


def test_github_annotations_can_be_read_back() -> None:
    lines = renderer("github")(
        Report((check(finding("float-op", "warning", "a,b:c%d", "50 % of a,b::c"), model="x,y:z%.tflite"),))
    )
    match = COMMAND.match(lines.splitlines()[0])

    assert match is not None
    assert match[1] == "warning"
    assert unescaped(match[2]) == "x,y:z%.tflite"
    assert unescaped(match[3]) == "float-op at a,b:c%d for pixel-8"
    assert unescaped(match[4]).startswith("50 % of a,b::c\nwhy: ")


def test_github_shows_what_fails_first() -> None:
    report = Report((check(finding("unused-op", "note")), check(finding("float-op", "error"))))

    assert [line.split(" ")[0] for line in renderer("github")(report).splitlines()] == [
        "::error",
        "::notice",
        "edgepress",
    ]


def test_github_shows_warnings_as_errors_where_they_fail_the_run() -> None:
    report = Report((check(finding("hybrid", "warning")),), strict=True)

    assert renderer("github")(report).startswith("::error ")


# Markdown


def tables(text: str) -> list[list[list[str]]]:
    """Parse the text as GitHub does and return the cells of each table, row by row, as their HTML."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.map and token.level >= 4:
            found[-1][-1].append(
                "".join(f"<{child.type}>" if child.type != "text" else child.content for child in token.children or [])
            )
    return found


def test_no_name_breaks_a_table_of_the_comment() -> None:
    for table in tables(renderer("markdown")(hostile_report())):
        assert {len(row) for row in table} == {len(table[0])}


def test_no_name_becomes_markup() -> None:
    text = renderer("markdown")(hostile_report())
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)

    tags = set(re.findall(r"<(\w+)", rendered))
    assert tags <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "details", "summary", "strong"}
    assert not re.search(r"@\w|https?://|www\.\w", rendered)


def test_the_comment_fits_into_a_comment() -> None:
    many = Report(
        tuple(
            check(*(finding("float-op", "error", HOSTILE[5] * 5) for _ in range(30)), model=f"m{n}") for n in range(90)
        )
    )

    assert len(renderer("markdown")(many)) < 65_536
    assert "The rest is left out" in renderer("markdown")(many)
    assert len(renderer("markdown")(many)) <= MAX_CHARACTERS + 200
