"""Where a run stands: was its promise kept, in one line, and the few figures that matter, each beside what it is held against."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.report.figures import in_bytes, role_of, shortened
from pipeline.report.latencies import how, latency_of, milliseconds, with_label
from pipeline.report.model import Gain, MeasurementFacts, Report, ReportRow, Verdict

KIB = 1024
WORST_FIRST = ("missed", "not_shown", "kept")
WORDS = {"kept": "kept", "missed": "missed", "not_shown": "not shown", "none": "no promise"}
UNITS = {"max_drop": "", "size_kib": " KiB", "latency_ms": " ms"}
MEMORY = ("peak memory", "arena", "sram")


@dataclass(frozen=True)
class Promise:
    """One line of the budget over all files: the worst outcome counts."""

    name: str
    limit: str
    state: str
    found: str

    @property
    def word(self) -> str:
        """Its outcome in words."""
        return WORDS[self.state]


@dataclass(frozen=True)
class Tile:
    """A figure, and what stands beside it."""

    label: str
    value: str
    beside: str


@dataclass(frozen=True)
class Standing:
    """A target's promise and its figures; `state` is kept, missed, not_shown, or none where nothing was promised.

    `failed` says why the fidelity gate failed, empty where it passed.
    """

    state: str
    failed: str
    promises: tuple[Promise, ...]
    tiles: tuple[Tile, ...]
    cells: tuple[str, ...]
    """Its row of the matrix of targets, as COLUMNS has it."""

    @property
    def word(self) -> str:
        """Its outcome in words."""
        return WORDS[self.state]


COLUMNS = ("target", "promise", "score [95 %]", "size", "latency", "memory", "fits", "findings")


def standing(report: Report) -> Standing:
    """Return where a target stands."""
    promises = tuple(_promises(report.verdicts))
    state = next((state for state in WORST_FIRST if any(each.state == state for each in promises)), "none")
    if report.fidelity and not report.fidelity.passed:
        state = "missed"
    row = final(report)
    cells = (
        report.target,
        WORDS[state],
        row.score.shown(),
        in_bytes(row.size_bytes),
        *(_latency(report, row), _memory(report, row), _fits(report), _findings(report)),
    )
    failed = "; ".join(report.fidelity.why_failed) if report.fidelity else ""
    return Standing(state, failed, promises, tuple(_tiles(report, row)), cells)


def final(report: Report) -> ReportRow:
    """Return the form that the run was made for: its last file, or last network."""
    return report.rows[-1]


def _promises(verdicts: Iterable[Verdict]) -> Iterator[Promise]:
    named: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        named.setdefault(verdict.budget.partition(",")[0], []).append(verdict)
    for name, same in named.items():
        state = next(state for state in WORST_FIRST if any(each.outcome == state for each in same))
        unit = UNITS.get(name, "")
        values = [f"{each.value:.3g}{unit}" for each in same if each.value is not None]
        yield Promise(name, f"{same[0].limit:g}{unit}", state, " and ".join(dict.fromkeys(values)) or same[0].why)


def _tiles(report: Report, row: ReportRow) -> Iterator[Tile]:
    reference = next((each for each in report.rows if each.stage == report.reference), report.rows[0])
    beside = f"95 %: {row.score.low:.4f} to {row.score.high:.4f}"
    if reference != row:
        beside += f"; {reference.stage} {reference.score.value:.4f}"
    yield Tile(report.metric.name, f"{row.score.value:.4f}", beside)
    gain = next(
        (each for each in report.gains if each.new == row.stage and role_of(report, each.old) == "reference"), None
    )
    yield Tile("size", in_bytes(row.size_bytes), _smaller(gain))
    if row.macs is not None:
        yield Tile("multiply-accumulates", shortened(row.macs), _fewer(gain))
    timed = latency_of(report, row.stage)
    if timed:
        yield Tile("latency", milliseconds(timed), _timing(timed, gain))


def _smaller(gain: Gain | None) -> str:
    if gain is None:
        return ""
    return f"{gain.old} {in_bytes(gain.old_bytes)}, {gain.old_bytes / gain.new_bytes:.1f} times as large"


def _fewer(gain: Gain | None) -> str:
    if gain is None or gain.old_macs is None or not gain.new_macs:
        return ""
    return f"{gain.old} {shortened(gain.old_macs)}, {gain.old_macs / gain.new_macs:.1f} times as many"


def _timing(timed: MeasurementFacts, gain: Gain | None) -> str:
    taken = f"{how(timed)} on {timed.device}, one thread"
    pairs = gain.latency if gain else ()
    pair = next((each for each in pairs if (each.device, each.threads) == (timed.device, timed.threads)), None)
    if gain is None or pair is None:
        return taken
    return f"{taken}; {gain.old} {pair.old_ms:.3g} ms: {pair.verdict}"


def _latency(report: Report, row: ReportRow) -> str:
    timed = latency_of(report, row.stage)
    if timed is None:
        return "not measured"
    return with_label(timed)


def _memory(report: Report, row: ReportRow) -> str:
    found = [each for each in report.measurements if each.model == row.stage and each.quantity in MEMORY]
    best = min(found, key=lambda each: each.device != report.target, default=None)
    if best is None:
        return "not measured"
    value = f"{best.value:,.0f}" if best.value >= KIB else f"{best.value:.3g}"
    return f"{value} {best.unit} {best.quantity}, {best.label} on {best.device}"


def _fits(report: Report) -> str:
    if not report.fits:
        return "not known"
    broken = [each.file for each in report.fits if not each.fits]
    return f"no: {', '.join(broken)}" if broken else "as far as is known"


def _findings(report: Report) -> str:
    gate = report.fidelity
    files = [file for file in (gate.onnx, gate.tflite) if file is not None] if gate else []
    count = sum(len(file.findings) for file in files) + sum(len(each.findings) for each in report.fits)
    return str(count) if count else "none"
