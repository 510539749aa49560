"""The report as tables: for a terminal (rich) and, by the same rows, as Markdown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from pipeline.bench import ratio_text
from pipeline.report import audited, ledgered
from pipeline.report.latencies import how
from pipeline.report.model import Agreement, Fidelity, Gain, LatencyRatio, MeasurementFacts, Report, ReportRow

WORST = "the worst answers"
MARKS = {"kept": "kept", "missed": "MISSED", "not_shown": "not shown"}


@dataclass(frozen=True)
class Sheet:
    """A titled table of texts; every row is as long as `columns`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def sheets(report: Report) -> tuple[Sheet, ...]:
    """Return the report's tables: stages with controls, fidelity, latency, verdicts; empty ones left out."""
    found = (
        _stages(report),
        _differences(report),
        _gains(report),
        _choice(report),
        _audit(report),
        _cuts(report),
        _sensitivity(report),
        _scheme(report),
        *_fidelity(report),
        _quantised(report),
        worst_answers(report),
        _latency(report),
        _ledger(report),
        _verdicts(report),
    )
    return tuple(sheet for sheet in found if sheet.rows)


def print_report(report: Report, console: Console) -> None:
    """Print the report's tables to a terminal."""
    print_sheets(sheets(report), console)


def print_sheets(found: Iterable[Sheet], console: Console) -> None:
    """Print tables to a terminal."""
    for sheet in found:
        console.print(drawn(sheet))
        console.print()


def drawn(sheet: Sheet) -> Group:
    """Return a table as rich draws it, with its notes below."""
    table = Table(title=sheet.title, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(sheet.columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return Group(table, *(Text(note) for note in sheet.notes))


def to_markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [f"# {report.recipe} on {report.target}", headline(report)]
    for sheet in sheets(report):
        lines = [_pipes(sheet.columns), _pipes("---" if index == 0 else "---:" for index in range(len(sheet.columns)))]
        lines += [_pipes(row) for row in sheet.rows]
        parts += [f"## {sheet.title}", "\n".join(lines), *sheet.notes]
    parts.append(
        f"Made {report.made_at} with "
        + ", ".join(f"{name} {version}" for name, version in report.toolchain.items())
        + "."
    )
    return "\n\n".join(parts) + "\n"


def headline(report: Report) -> str:
    """Return which promises were kept."""
    outcomes = [f"{verdict.budget} {MARKS[verdict.outcome]}" for verdict in report.verdicts]
    gate = (
        ""
        if report.fidelity is None
        else "the fidelity gate passed; "
        if report.fidelity.passed
        else "the fidelity gate FAILED; "
    )
    return f"{gate}{', '.join(outcomes) or 'no budget was set'}.".capitalize()


def _stages(report: Report) -> Sheet:
    columns = ("stage", f"{report.metric.name} [95 %]", "parameters", "MACs", "size", "made in")
    rows = [_row(row) for row in report.rows] + [_row(row, prefix="control: ") for row in report.controls]
    title = f"{report.recipe} for {report.target}: {report.test_samples:,} test samples, never seen before"
    return Sheet(title, columns, tuple(rows))


def _differences(report: Report) -> Sheet:
    columns = ("form", f"{report.metric.name} lost [95 %]")
    rows = tuple((name, drop.shown("+")) for name, drop in report.drop.items())
    return Sheet(f"against {report.reference}, paired over the test samples", columns, rows)


def _audit(report: Report) -> Sheet:
    found = report.audit
    return Sheet(
        "teachers, judged before they taught",
        audited.COLUMNS,
        audited.rows(found) if found else (),
        audited.notes(found) if found else (),
    )


def _choice(report: Report) -> Sheet:
    """How the student was chosen; none where the task gave its own."""
    found = report.choice or {"looked": (), "why": ""}
    rows = tuple(
        (
            f"{each['family']}, width {each['width']}, depth {each['depth']}",
            _count(each["macs"]),
            f"{each['size_kib']:.1f} KiB",
            "not known" if each["latency_ms"] is None else f"{each['latency_ms']:.3f} ms ({each['label']})",
            each["breaks"] or "none",
            "not tried" if each["score"] is None else f"{each['score']:.4f}",
        )
        for each in found["looked"]
    )
    columns = ("network", "MACs", "int8 TFLite", "latency", "breaks", "validation score of a probe")
    return Sheet("the student, chosen", columns, rows, (found["why"],))


def _ledger(report: Report) -> Sheet:
    return Sheet("ledger", ledgered.COLUMNS, tuple(ledgered.rows(report.ledger)) if report.ledger else ())


def _quantised(report: Report) -> Sheet:
    """The same network as this recipe quantises it, and as its baselines do."""
    rows = {row.stage: row for row in (*report.rows, *report.controls)}
    cells = tuple(
        (name, rows[name].score.shown(), _size(rows[name].size_bytes), f"{count}")
        for name, count in report.quantised.items()
    )
    columns = ("file", f"{report.metric.name} [95 %]", "size", "operators in float")
    return Sheet("one network, quantised in several ways", columns, cells)


def worst_answers(report: Report) -> Sheet:
    """Return what the network answers worst; no rows where its task doesn't tell, or nothing is wrong."""
    found = report.mistakes
    if found is None:
        return Sheet(WORST, (), ())
    rows = tuple((str(each.sample), each.what, *each.said) for each in found.worst)
    off = f"{found.forms[-1]} is off in {found.wrong:,} of {report.test_samples:,} test samples; these are its worst"
    return Sheet(WORST, ("test sample", "what it is", *found.forms), rows, (off,))


def _cuts(report: Report) -> Sheet:
    """What each step that pruned by cost made cheaper: as its table of costs foretells, beside the MACs."""
    columns = ("step", "cost", "before", "after", "speed-up", "speed-up of MACs", "ratio", "label")
    rows = []
    for each in report.cuts:
        faster, fewer = each["cost_before"] / each["cost"], each["macs_before"] / each["macs"]
        figures = (
            f"{each['cost_before']:,.5g}",
            f"{each['cost']:,.5g}",
            f"{faster:.2f}x",
            f"{fewer:.2f}x",
            f"{faster / fewer:.2f}",
        )
        label = f"foretold from layers {each['label']} on {each['device']}"
        rows.append((each["step"], f"{each['quantity']}, {each['unit']}", *figures, label))
    return Sheet("pruned by cost", columns, tuple(rows))


def _sensitivity(report: Report) -> Sheet:
    """Which layers int8 hurts, the worst first; none where nobody asked, or nothing was lost."""
    found = report.sensitivity or {"layers": (), "why": ""}
    chosen = report.sensitivity["float_layers"] if report.sensitivity else ()
    rows = tuple(
        (
            each["float_layers"][0],
            f"{each['score']:.4f}",
            f"{each['error']:.4f}",
            "stays in float" if each["float_layers"][0] in chosen else "int8",
        )
        for each in found["layers"]
    )
    notes = [found["why"], *_cost_of_exceptions(found.get("costs") or {})]
    columns = ("layer", "validation score with it alone in float", "distance from the float answers", "becomes")
    return Sheet("sensitivity to int8", columns, rows, tuple(notes))


def _cost_of_exceptions(costs: Mapping[str, Any]) -> list[str]:
    if not costs:
        return []
    how = f"{costs['label']}{', disturbed' if costs['why_invalid'] else ''} on {costs['device']}"
    return [
        f"what the exceptions cost: {costs['quantity']} {costs['int8']:,.5g} to {costs['mixed']:,.5g} {costs['unit']} ({how})"
    ]


def _scheme(report: Report) -> Sheet:
    """The choice between static and dynamic-range int8; none where there was nothing to choose."""
    found = report.scheme or {"trials": (), "why": ""}
    rows = tuple(
        (
            f"{trial['format']} on {trial['device']}",
            f"{trial['quantity']}, {trial['unit']}",
            f"{trial['static_int8']:,.5g}",
            f"{trial['dynamic_int8']:,.5g}",
            f"{trial['label']}{', disturbed' if trial['why_invalid'] else ''}",
        )
        for trial in found["trials"]
    )
    columns = ("untrained trial", "cost", "static int8", "dynamic int8", "label")
    return Sheet("static or dynamic int8", columns, rows, (found["why"],))


def _gains(report: Report) -> Sheet:
    columns = ("file", "instead of", f"{report.metric.name} [95 %]", "MACs", "size", "latency, ratio [99 %]")
    return Sheet("what it gains", columns, tuple(_gain(gain) for gain in report.gains))


def _gain(gain: Gain) -> tuple[str, ...]:
    macs = f"{_count(gain.old_macs)} to {_count(gain.new_macs)}"
    if gain.old_macs is not None and gain.new_macs is not None:
        macs += f": {gain.old_macs / max(1, gain.new_macs):.1f}x fewer"
    size = f"{_size(gain.old_bytes)} to {_size(gain.new_bytes)}: {gain.old_bytes / gain.new_bytes:.1f}x smaller"
    latency = "\n".join(_latency_ratio(each) for each in gain.latency)
    return (gain.new, gain.old, gain.difference.shown("+"), macs, size, latency)


def _latency_ratio(each: LatencyRatio) -> str:
    both = f"{each.device}, {each.threads} thread{'s' * (each.threads > 1)}: {each.old_ms:.3f} to {each.new_ms:.3f} ms"
    if each.verdict == "not valid":
        return f"{both}, not valid"
    ratio = ratio_text(each.ratio.value, each.ratio.low, each.ratio.high)
    known = "" if each.label == "measured" else f" {each.label}, by its error bands"
    return f"{both}{known}, {ratio}: {each.verdict}"


def _row(row: ReportRow, *, prefix: str = "") -> tuple[str, ...]:
    made = "cached" if row.cached else f"{row.seconds:.1f} s"
    return (
        prefix + row.stage,
        row.score.shown(),
        _count(row.parameters),
        _count(row.macs),
        _size(row.size_bytes),
        made,
    )


def _fidelity(report: Report) -> Iterable[Sheet]:
    gate = report.fidelity
    if gate is None:
        return
    columns = ("pair", "equal", "within 1 LSB", "within 2 LSB", "largest", "arg-max equal")
    pairs = {"torch, ONNX": gate.torch_onnx, "torch, TFLite": gate.torch_tflite, "ONNX, TFLite": gate.onnx_tflite}
    rows = tuple(_agreement(name, pair) for name, pair in pairs.items() if pair is not None)
    yield Sheet(_gate_title(gate), columns, rows, tuple(_gate_notes(gate, report)))


def _gate_title(gate: Fidelity) -> str:
    return f"fidelity: {'passed' if gate.passed else 'FAILED'}"


def _gate_notes(gate: Fidelity, report: Report) -> Iterable[str]:
    files = {name: file for name, file in (("ONNX", gate.onnx), ("TFLite", gate.tflite)) if file is not None}
    scores = ", ".join(f"{name} {file.score:.4f}" for name, file in files.items())
    float_ops = ", ".join(f"{name} {file.float_ops}" for name, file in files.items())
    yield f"{report.metric.name}: program {gate.program_score:.4f}, {scores}; float ops: {float_ops}"
    if gate.scales_equal is not None:
        yield f"scales: {'all equal in both files' if gate.scales_equal else 'NOT equal'}"
    yield from gate.why_failed
    if gate.first_divergence:
        yield f"first layer that differs: {gate.first_divergence}"
    yield from (f"{name}: {finding}" for name, file in files.items() for finding in file.findings)


def _agreement(name: str, pair: Agreement) -> tuple[str, ...]:
    argmax = "" if pair.argmax_agreement is None else _percent(pair.argmax_agreement)
    shares = (_percent(pair.equal), _percent(pair.within_1_lsb), _percent(pair.within_2_lsb))
    return (name, *shares, f"{pair.max_lsb:.0f} LSB", argmax)


def _latency(report: Report) -> Sheet:
    columns = ("file", "device", "runtime", "threads", "median [95 %]", "p90", "how")
    latencies = [figure for figure in report.measurements if figure.quantity == "latency"]
    rows = tuple(_measurement(figure) for figure in latencies)
    return Sheet("latency of one inference", columns, rows, tuple(_disturbances(latencies)))


def _disturbances(latencies: list[MeasurementFacts]) -> Iterable[str]:
    """Say for each device how many rows are invalid, and why one of them is."""
    reasons: dict[str, list[str]] = {}
    for figure in latencies:
        if figure.why_invalid:
            reasons.setdefault(figure.device, []).append(figure.why_invalid)
    for device, told in reasons.items():
        yield f"INVALID in {len(told)} rows of {device}, e.g. {told[0]}; the next run measures these anew"


def _measurement(figure: MeasurementFacts) -> tuple[str, ...]:
    value = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] {figure.unit}"
    p90 = "" if figure.p90 is None else f"{figure.p90:.3f} {figure.unit}"
    return (figure.model, figure.device, figure.runtime, str(figure.threads), value, p90, how(figure))


def _verdicts(report: Report) -> Sheet:
    rows = tuple(
        (
            verdict.budget,
            f"{verdict.limit:g}",
            "" if verdict.value is None else f"{verdict.value:.4g}",
            MARKS[verdict.outcome],
            verdict.why,
        )
        for verdict in report.verdicts
    )
    return Sheet("budget", ("line", "limit", "found", "verdict", "why"), rows)


def _pipes(cells: Iterable[str]) -> str:
    """Return a row of Markdown; what a cell tells of the data is no markup there, no link and no picture."""
    texts = (escape(cell, quote=False).replace("|", "\\|").replace("](", "]\\(") for cell in cells)
    return "| " + " | ".join(text.replace("\n", "<br>") for text in texts) + " |"


def _percent(share: float) -> str:
    """A share that isn't whole is never shown as 100 %."""
    shown = f"{100 * share:.2f} %"
    return "99.99 %" if shown == "100.00 %" and share < 1 else shown


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.1f} KiB"
