"""What the report draws: each figure a chart, one sentence that says what is seen in it, and the same numbers as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report import charts
from pipeline.report.charts import Row, Spec
from pipeline.report.compare import LETTERS
from pipeline.report.latencies import by_place, how, milliseconds
from pipeline.report.model import Confusion, Interval, MeasurementFacts, Report, ReportRow
from pipeline.report.reading import Run, Trials
from pipeline.report.text import Sheet

KIB = 1024
UNITS = (("GiB", 3), ("MiB", 2), ("KiB", 1))
FILES = ("onnx", "tflite", "PTQ")
"""How rows of files end; others are networks whose weights are counted in float."""
ROLES = ("reference", "network", "control")
"""The colours of runs A, B and C."""
MOST_NUMBERED = 12
"""Classes of a confusion matrix whose counts still have room in their cells."""


@dataclass(frozen=True)
class Figure:
    """A chart by a `title`, `says` what it shows in words; `note` is what a reader must know to trust it, `brief` that in three words."""

    title: str
    says: str
    spec: Spec
    table: Sheet
    note: str = ""
    brief: str = ""


def way(report: Report) -> Iterator[Figure]:
    """Give the way through the stages: score, size, multiply-accumulates, latency."""
    rows = [*report.rows, *report.controls]
    yield _scores(report, rows)
    yield _column(report, rows, "Size", "KiB", lambda row: row.size_bytes / KIB, lambda value: in_bytes(KIB * value))
    if any(row.macs is not None for row in rows):
        yield _column(report, rows, "MACs of one inference", "MACs", lambda row: row.macs, shortened)
    if place := _best_place(report):
        yield _timings(report, *place)


def latencies(report: Report) -> Iterator[Figure]:
    """Give for each device and number of threads the medians, and where samples were timed how they spread."""
    for device, threads, figures in by_place(report):
        rows = [{**_named(report, each.model), **_median(each)} for each in figures]
        place = f"{device}, {threads} thread{'s' * (threads > 1)}"
        says = f"Median of one inference, {_labels(figures)}: {_extremes(rows, 'fastest', 'slowest')}."
        bins = [each for number, figure in enumerate(figures) for each in _bins(report, number, figure)]
        slow = sum(each.histogram.beyond for each in figures if each.histogram)
        if bins:
            beyond = f"; the slowest, {slow:,} in all, lie beyond what is drawn" if slow else ""
            says += f" Over each median stand its samples{beyond}."
        spec = charts.spreads(rows, bins, title="ms") if bins else charts.ranges(rows, title="ms")
        table = Sheet("", STATE, tuple(_state(each) for each in figures))
        yield Figure(f"Latency on {place}", says, spec, table, _distrust(figures))


def against(report: Report) -> Iterator[Figure]:
    """Give score against latency on the target itself, else the host, and against size."""
    rows = {row.stage: row for row in (*report.rows, *report.controls)}
    if place := _best_place(report):
        device, figures = place
        points = [
            {**_point(report, rows[each.model], _interval(each), milliseconds(each)), "faint": not each.valid}
            for each in figures
            if each.model in rows
        ]
        if points:
            yield _against(report, f"latency on {device}", f"ms, {_labels(figures)}", points, _distrust(figures))
    files = [row for row in rows.values() if row.stage.endswith(FILES)] or list(rows.values())
    points = [_point(report, row, _exactly(row.size_bytes / KIB), in_bytes(row.size_bytes)) for row in files]
    yield _against(report, "size", "KiB", points, "")


def confusion(found: Confusion) -> Figure | None:
    """Return the matrix of true classes and answers; None where there are too many for one."""
    if not found.counts:
        return None
    labels = _told_apart(found.labels)
    cells = [
        _cell(labels[true], labels[answer], count, sum(row), right=true == answer)
        for true, row in enumerate(found.counts)
        for answer, count in enumerate(row)
    ]
    total, right = sum(map(sum, found.counts)), sum(row[number] for number, row in enumerate(found.counts))
    columns = ("true class", *found.labels)
    table = Sheet(
        "", columns, tuple((label, *map(str, row)) for label, row in zip(found.labels, found.counts, strict=True))
    )
    worst = "; ".join(f"{true} taken for {answer}, {count} times" for true, answer, count in found.wrong[:3])
    says = f"{found.form} names {right:,} of {total:,} test samples right. Most often wrong: {worst or 'nothing'}."
    spec = charts.matrix(cells, labels, numbered=len(labels) <= MOST_NUMBERED)
    return Figure("Which class is taken for which", says, spec, table)


def search(found: Trials, target: str) -> Figure | None:
    """Return a search's trials on a target, the chosen one and the Pareto front marked."""
    made = [(trial, each) for trial in found.trials for each in trial.fitness if each.target == target]
    if not made:
        return None
    rows = [
        {
            "x": each.cost,
            "y": each.drop_high,
            "name": _trial(found, trial.number),
            "role": _standing(found, trial.number),
        }
        for trial, each in made
    ]
    front = sorted(
        ({"x": each.cost, "y": each.drop_high} for trial, each in made if trial.number in found.front),
        key=lambda row: row["x"],
    )
    first = made[0][1]
    x = f"{first.quantity}, {first.unit} ({first.label})" if first.quantity != first.unit else first.unit
    spec = charts.stairs(rows, front, x=x, y="score lost, upper end of 95 %", limit=found.budget.get("max_drop"))
    cells = (
        (_trial(found, trial.number), _settings(trial.settings), f"{each.drop_high:+.4f}", f"{each.cost:,.0f}")
        for trial, each in made
    )
    table = Sheet("", ("trial", "settings", "score lost, at most", x), tuple(cells))
    note = "Validation split. Triangles are the Pareto front of loss, cost and size, the disc is the chosen trial, the dashed line max_drop."
    return Figure("The search: what each trial lost and cost", f"{len(made)} trials. {found.why}", spec, table, note)


def side_by_side(runs: Sequence[Run]) -> Iterator[Figure]:
    """Give the scores and the sizes of runs beside each other, a figure of each for every target that the first and another have."""
    for report in runs[0].reports:
        same = [next((each for each in run.reports if each.target == report.target), None) for run in runs]
        rows = [
            {"name": f"{LETTERS[number]}: {row.stage}", "role": ROLES[number], "row": row}
            for stage in report.rows
            for number, other in enumerate(same)
            for row in (other.rows if other else ())
            if row.stage == stage.stage and role_of(report, row.stage) == "network"
        ]
        if len(same) > same.count(None) + 1 and rows:
            yield _compared(report, rows, "score")
            yield _compared(report, rows, "size")


def role_of(report: Report, title: str) -> str:
    """Return whose form it is: the network's own, a control's, or that of what it must not fall below."""
    if title in {row.stage for row in report.controls}:
        return "control"
    return "reference" if title.startswith(("teacher ", report.reference)) else "network"


def shortened(count: float) -> str:
    """Return a large count with three figures: "1.89 M"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,.0f}"


def in_bytes(count: float) -> str:
    """Return a size: "624 B", "26.7 KiB", "1.04 MiB"."""
    unit, power = next((each for each in UNITS if count >= KIB ** each[1]), ("B", 0))
    return f"{count / KIB**power:,.{1 if power == 1 else 2}f} {unit}" if power else f"{count:,.0f} B"


def _compared(report: Report, rows: Sequence[Row], what: str) -> Figure:
    drawn = [{**each, **(_score(each["row"]) if what == "score" else _size(each["row"]))} for each in rows]
    for each in drawn:
        del each["row"]
    title = report.metric.name if what == "score" else "size"
    table = Sheet("", ("form", title), tuple((each["name"], each["interval"]) for each in drawn))
    says = f"{_extremes(drawn, 'Lowest', 'highest')}."
    draw = charts.ranges if what == "score" else charts.bars
    return Figure(f"{title.capitalize()} on {report.target}", says, draw(drawn, title=title), table)


def _score(row: ReportRow) -> dict[str, Any]:
    return {**row.score.model_dump(), "shown": f"{row.score.value:.4f}", "interval": row.score.shown()}


def _size(row: ReportRow) -> dict[str, Any]:
    return {"value": row.size_bytes / KIB, "shown": in_bytes(row.size_bytes), "interval": in_bytes(row.size_bytes)}


def _scores(report: Report, rows: Sequence[ReportRow]) -> Figure:
    drawn = [{**_named(report, row.stage), **_score(row)} for row in rows]
    name = report.metric.name
    higher = "higher" if report.metric.higher_is_better else "lower"
    says = f"{report.test_samples:,} test samples, {higher} is better: {_extremes(drawn, 'lowest', 'highest')}. Bars are 95 % intervals."
    table = Sheet("", ("form", f"{name} [95 %]"), tuple((row.stage, row.score.shown()) for row in rows))
    return Figure(name.capitalize(), says, charts.ranges(drawn, title=name), table, brief="with its 95 % interval")


def _column(report: Report, rows: Sequence[ReportRow], title: str, unit: str, of: Any, shown: Any) -> Figure:
    drawn = [
        {**_named(report, row.stage), "value": of(row), "shown": shown(of(row))} for row in rows if of(row) is not None
    ]
    table = Sheet(
        "",
        ("form", unit),
        tuple((row["name"], f"{row['value']:,.5g}" if unit == "KiB" else f"{row['value']:,}") for row in drawn),
    )
    says = f"{_extremes(drawn, 'Smallest', 'largest')}."
    return Figure(title, says, charts.bars(drawn, title=unit), table, brief="exact")


def _timings(report: Report, device: str, figures: Sequence[MeasurementFacts]) -> Figure:
    drawn = [{**_named(report, each.model), **_median(each)} for each in figures]
    says = f"Median of one inference, one thread, {_labels(figures)}: {_extremes(drawn, 'fastest', 'slowest')}."
    table = Sheet(
        "", ("file", "median [95 %]", "how"), tuple((each.model, _between(each), how(each)) for each in figures)
    )
    brief = f"one thread, {_labels(figures)}{'' if all(each.valid for each in figures) else ', INVALID'}"
    return Figure(f"Latency on {device}", says, charts.bars(drawn, title="ms"), table, _distrust(figures), brief)


def _named(report: Report, title: str) -> dict[str, Any]:
    return {"name": title, "role": role_of(report, title)}


def _extremes(rows: Sequence[Row], least: str, most: str) -> str:
    low, high = min(rows, key=lambda row: row["value"]), max(rows, key=lambda row: row["value"])
    if low["value"] == high["value"]:
        return f"all {low['shown']}"
    return f"{least} {low['shown']} ({low['name']}), {most} {high['shown']} ({high['name']})"


def _point(report: Report, row: ReportRow, cost: Interval, shown: str) -> dict[str, Any]:
    at = {"x": cost.value, "x_low": cost.low, "x_high": cost.high, "x_shown": shown}
    up = {"y": row.score.value, "y_low": row.score.low, "y_high": row.score.high, "y_shown": row.score.shown()}
    return {**_named(report, row.stage), **at, **up, "hollow": row.stage.endswith(("tflite", "tflite by PTQ"))}


def _against(report: Report, what: str, unit: str, points: list[dict[str, Any]], note: str) -> Figure:
    name = report.metric.name
    spec = charts.points(points, x=f"{what}, {unit}", y=name)
    table = Sheet("", ("form", name, what), tuple((each["name"], each["y_shown"], each["x_shown"]) for each in points))
    better = "Up" if report.metric.higher_is_better else "Down"
    says = (
        f"Each file's {name} on the test split against its {what}, with 95 % intervals; hollow marks are TFLite, faint ones invalid. "
        f"{better} and to the left is better."
    )
    return Figure(f"{name.capitalize()} against {what}", says, spec, table, note)


def _bins(report: Report, number: int, figure: MeasurementFacts) -> Iterator[dict[str, Any]]:
    found = figure.histogram
    if found is None or found.low <= 0:
        return
    width, most = (found.high - found.low) / max(1, len(found.counts)), max(found.counts, default=0) or 1
    for place, count in enumerate(found.counts):
        if count:
            low = found.low + place * width
            shown = f"{figure.model}: {count:,} of {figure.samples:,} samples between {low:.4g} and {low + width:.4g} {figure.unit}"
            yield {
                "at": number,
                "low": low,
                "high": low + (width or 0.01 * low),
                "share": count / most,
                "colour": charts.variable(role_of(report, figure.model)),
                "shown": shown,
            }


STATE = ("file", "median [95 %]", "p90", "p99", "samples", "processes", "drift", "how", "the machine")


def _state(each: MeasurementFacts) -> tuple[str, ...]:
    told = each.why_invalid or ("left alone" if each.label == "measured" else "")
    drift = "" if each.drift is None else f"{100 * each.drift:+.1f} %"
    percentiles = ("" if value is None else f"{value:.3g} {each.unit}" for value in (each.p90, each.p99))
    counts = (f"{each.samples:,}", str(each.processes))
    state = "; ".join(part for part in (told, each.how) if part)
    return (
        each.model,
        _between(each),
        *percentiles,
        *counts,
        drift,
        how(each),
        state,
    )


def _median(each: MeasurementFacts) -> dict[str, Any]:
    return {
        "value": each.value,
        "low": each.low,
        "high": each.high,
        "shown": milliseconds(each),
        "interval": _between(each),
    }


def _labels(figures: Sequence[MeasurementFacts]) -> str:
    return "/".join(sorted({each.label for each in figures}))


def _best_place(report: Report) -> tuple[str, list[MeasurementFacts]] | None:
    """Return the latencies with one thread on the target itself, else on the first device that has any."""
    return next(((device, figures) for device, threads, figures in by_place(report) if threads == 1), None)


def _exactly(value: float) -> Interval:
    return Interval(value=value, low=value, high=value)


def _interval(each: MeasurementFacts) -> Interval:
    return Interval(value=each.value, low=each.low, high=each.high)


def _distrust(figures: Sequence[MeasurementFacts]) -> str:
    disturbed = [each for each in figures if not each.valid]
    machines = ", ".join(dict.fromkeys(each.machine for each in figures))
    if not disturbed:
        return machines
    return f"{machines}. {len(disturbed)} of {len(figures)} figures are invalid, e.g. {disturbed[0].why_invalid}"


def _between(each: MeasurementFacts) -> str:
    return f"{each.value:.3g} [{each.low:.3g}, {each.high:.3g}] {each.unit}"


def _told_apart(labels: Sequence[str]) -> list[str]:
    """Return short labels, no two of which are equal."""
    short = [label[:20] for label in labels]
    return [label if short.count(label) == 1 else f"{label} {number}" for number, label in enumerate(short, 1)]


def _cell(true: str, answer: str, count: int, total: int, *, right: bool) -> dict[str, Any]:
    share = count / total if total else 0.0
    strength = 0.0 if not count else 0.12 + 0.88 * share if right else min(1.0, 0.25 + 3 * share)
    ink = charts.variable("page" if strength > 0.55 else "ink")
    return {
        "true": true,
        "answer": answer,
        "count": count,
        "strength": strength,
        "right": right,
        "shown": str(count or ""),
        "ink": ink,
    }


def _trial(found: Trials, number: int) -> str:
    mark = ", chosen" if number == found.chosen else ", on the front" if number in found.front else ""
    return f"{number}{mark}"


def _standing(found: Trials, number: int) -> str:
    return "network" if number == found.chosen else "control" if number in found.front else "reference"


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
