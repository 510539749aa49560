"""JUnit XML: a test suite a file, a test case a thing that was judged; what fails the run is a failure, waived is skipped.

By the schema that Jenkins and pytest keep to (github.com/jenkinsci/xunit-plugin, .../types/model/xsd/junit-10.xsd). Times are
left out: nothing was timed, and equal results are equal files.
"""

from xml.etree import ElementTree as ET

from pipeline.checks.finding import Finding
from pipeline.gate.budget import told
from pipeline.gate.verdict import Check, Line, Report
from pipeline.plain import plain

SUFFIX = ".xml"


def render(report: Report) -> str:
    """Return the report as a JUnit document."""
    suites = [_suite(check.title, _cases(report, check)) for check in report.checks]
    if report.findings:
        cases = [_case(report, finding, "waivers") for finding in report.findings]
        suites.append(_suite(report.waivers_file, cases))
    root = ET.Element("testsuites", name="edgepress check")
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _cases(report: Report, check: Check) -> list[ET.Element]:
    cases = [_case(report, finding, check.title) for finding in check.findings]
    cases += [_kept(line, check.title) for line in check.budget if line.outcome == "kept"]
    for waived in check.waived:
        case = _named(_name(waived.finding), check.title)
        ET.SubElement(case, "skipped", message=plain(f"waived: {waived.reason}"))
        cases.append(case)
    return cases or [_named("no finding", check.title)]


def _case(report: Report, finding: Finding, of: str) -> ET.Element:
    case = _named(_name(finding), of)
    if report.fails(finding):
        failure = ET.SubElement(case, "failure", message=plain(finding.message), type=finding.code)
        failure.text = f"why: {plain(finding.why)}\nfix: {plain(finding.fix)}"
    elif finding.code == "budget-not-shown":
        ET.SubElement(case, "skipped", message=plain(finding.message))
    else:
        ET.SubElement(case, "system-out").text = f"{finding.severity}: {plain(finding.message)}"
    return case


def _kept(line: Line, of: str) -> ET.Element:
    case = _named(f"budget {line.budget}", of)
    ET.SubElement(case, "system-out").text = f"kept: {plain(told(line))}"
    return case


def _name(finding: Finding) -> str:
    """Return a test case's name: a budget line has one name however it ends, so that its history can be followed."""
    if finding.code in ("budget-missed", "budget-not-shown"):
        return f"budget {finding.where}"
    return f"{finding.code} at {finding.where}" if finding.where else finding.code


def _named(name: str, of: str) -> ET.Element:
    return ET.Element("testcase", classname=plain(of), name=plain(name))


def _suite(name: str, cases: list[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", name=plain(name), tests=str(len(cases)), errors="0")
    for key, tag in (("failures", "failure"), ("skipped", "skipped")):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.extend(cases)
    return suite
