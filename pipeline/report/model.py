"""Report: the frozen record of a run for one target; `report.json`, schema 1.

Every number that is not exact is typed `measured`, `emulated` or `estimated`; a score carries its interval.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from rich.console import Group

Label = Literal["exact", "measured", "emulated", "estimated"]
Outcome = Literal["kept", "missed", "not_shown"]


class Part(BaseModel):
    """A frozen piece of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MetricFacts(Part):
    """The task's metric."""

    name: str
    higher_is_better: bool


class Interval(Part):
    """A value and its interval, 95 % where nothing else is said, in the metric's own units."""

    value: float
    low: float
    high: float

    def shown(self, sign: str = "") -> str:
        """Return it as text, "0.9832 [0.9752, 0.9888]"; `sign` = "+" for a difference."""
        return f"{self.value:{sign}.4f} [{self.low:{sign}.4f}, {self.high:{sign}.4f}]"


class ReportRow(Part):
    """One form of the network: its score on the test split, its cost, and what it took to make.

    `parameters` and `macs` count one inference of one sample; `size_bytes` is the weights' or the file's size.
    """

    stage: str
    score: Interval
    parameters: int | None
    macs: int | None
    size_bytes: int
    seconds: float
    cached: bool
    digest: str


class Agreement(Part):
    """How two forms answer the same inputs, as shares of all outputs, in steps of the output's scale (LSB)."""

    equal: float
    within_1_lsb: float
    within_2_lsb: float
    max_lsb: float
    argmax_agreement: float | None


class FileFidelity(Part):
    """One file against the frozen program: scores, and what its lint found."""

    score: float
    float_ops: int
    argmax_agreement: float | None
    findings: tuple[str, ...]


class Fidelity(Part):
    """The gate: `passed` holds when the files score and decide as the frozen program does and keep their lint's promises.

    What belongs to a format that the recipe didn't make is None.
    """

    passed: bool
    why_failed: tuple[str, ...]
    scales_equal: bool | None
    first_divergence: str | None
    program_score: float
    onnx: FileFidelity | None
    tflite: FileFidelity | None
    torch_onnx: Agreement | None
    torch_tflite: Agreement | None
    onnx_tflite: Agreement | None


class LayerAgreement(Part):
    """One activation in two forms on a few validation samples: how much of it is equal, and the largest difference in LSB."""

    name: str
    operator: str
    equal: float
    max_lsb: int


class LayerPair(Part):
    """Two forms, activation by activation, in the order in which the first makes them; `first_divergence` names where they part."""

    one: str
    other: str
    layers: tuple[LayerAgreement, ...] = Field(min_length=1)
    first_divergence: str | None


class LayerCost(Part):
    """One operator of a file: its multiply-accumulates, where shapes tell them, and what its constants take."""

    name: str
    operator: str
    macs: int | None
    weight_bytes: int


class LayerTime(Part):
    """One operator's median in `unit` and its share of the sum of all."""

    name: str
    operator: str
    value: float
    unit: str
    share: float


class LayerTimes(Part):
    """What each operator of a file takes on a device, as its runtime or compiler tells; `how` says what that rests on."""

    file: str
    device: str
    label: Label
    how: str
    layers: tuple[LayerTime, ...]


class Layers(Part):
    """The network's inside, layer by layer: costs of one file, times where a device tells them, agreement of the forms."""

    file: str
    costs: tuple[LayerCost, ...]
    times: tuple[LayerTimes, ...]
    pairs: tuple[LayerPair, ...]


class Confusion(Part):
    """How often one form of the network took one class for another, of the test split; `wrong` are the most frequent mistakes.

    `counts` are by true class, then by answer; empty where classes are too many for a picture.
    """

    form: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[str, str, int], ...]

    @model_validator(mode="after")
    def _is_square(self) -> "Confusion":
        if self.counts and {len(self.counts), *map(len, self.counts)} != {len(self.labels)}:
            raise ValueError("counts must have a row and a column for each of the labels")
        return self


class Mistake(Part):
    """A sample of the test split, by number: what it is, and what each form says of it, in the task's words."""

    sample: int
    what: str
    said: tuple[str, ...]


class Mistakes(Part):
    """What the last of `forms` answers worst by the task's own measure, the worst first; `wrong` counts all that isn't right."""

    forms: tuple[str, ...] = Field(min_length=1)
    wrong: int
    worst: tuple[Mistake, ...]

    @model_validator(mode="after")
    def _is_said_by_each(self) -> "Mistakes":
        if any(len(each.said) != len(self.forms) for each in self.worst):
            raise ValueError("each of the worst must be told of by each of the forms")
        return self


class FitLine(Part):
    """One need of a file against what its target has, in bytes; None where it isn't known, or not published."""

    what: str
    label: Label
    needs_bytes: int | None
    where: str
    has_bytes: int | None
    fits: bool | None


class Finding(Part):
    """What a check found of an operator on the target."""

    code: str
    severity: str
    message: str
    where: str


class Fits(Part):
    """Whether a file fits its target, as far as is known before it runs there."""

    file: str
    fits: bool
    lines: tuple[FitLine, ...]
    findings: tuple[Finding, ...]


class Reproduction(Part):
    """What it takes to make this again: the recipe, each stage's settings as they were used, the task's parts and the files by digest."""

    recipe: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    task: dict[str, str]
    files: dict[str, str]
    machine: str


class Spread(Part):
    """How samples are spread: counts of equal bins between `low` and `high`, and of those that were slower."""

    low: float
    high: float
    counts: tuple[int, ...]
    beyond: int


class MeasurementFacts(Part):
    """One figure of one file: `value` is the median, `low` and `high` its 95 % interval over fresh processes.

    `drift` is how much slower the last third of the samples was than the first (0.02 = 2 %), `histogram` their spread in `unit`. An estimate has its error
    band as `low` and `high`, and says in `how` what it rests on.
    """

    model: str
    device: str
    machine: str
    runtime: str
    threads: int
    quantity: str
    unit: str
    label: Label
    value: float
    p90: float | None
    p99: float | None
    low: float
    high: float
    samples: int
    processes: int
    drift: float | None
    histogram: Spread | None = None
    valid: bool
    why_invalid: str | None
    how: str
    made_at: str


class LatencyRatio(Part):
    """How the latencies of two files compare on one device: the ratio new / old with its 99 % interval, or what its error bands leave open."""

    device: str
    label: Label = "measured"
    threads: int
    old_ms: float
    new_ms: float
    ratio: Interval
    interleaved: bool
    verdict: Literal["faster", "slower", "no difference shown", "not valid"]


class Gain(Part):
    """A file of the run against another of the same format: cost on both sides, and the score that it cost.

    `difference` is the score of `new` minus that of `old`, paired over the test samples.
    """

    new: str
    old: str
    old_macs: int | None
    new_macs: int | None
    old_bytes: int
    new_bytes: int
    difference: Interval
    latency: tuple[LatencyRatio, ...]


class Verdict(Part):
    """One line of the budget: kept, missed, or not shown by what is known."""

    budget: str
    limit: float
    value: float | None
    label: Label | None
    outcome: Outcome
    why: str


class Report(Part):
    """What a run made for one target, proved and measured.

    `quantised` are the operators in float of the same network's files, quantised here and in the ways that the recipe's `baselines` name.
    """

    schema_version: Literal[1] = 1
    recipe: str
    target: str
    made_at: str
    toolchain: dict[str, str]
    metric: MetricFacts
    test_samples: int
    rows: tuple[ReportRow, ...] = Field(min_length=1)
    controls: tuple[ReportRow, ...]
    reference: str
    drop: dict[str, Interval]
    gains: tuple[Gain, ...]
    fidelity: Fidelity | None
    measurements: tuple[MeasurementFacts, ...]
    verdicts: tuple[Verdict, ...]
    audit: dict[str, Any] | None = None
    scheme: dict[str, Any] | None = None
    choice: dict[str, Any] | None = None
    sensitivity: dict[str, Any] | None = None
    cuts: tuple[dict[str, Any], ...] = ()
    quantised: dict[str, int] = {}
    ledger: dict[str, Any] | None = None
    layers: Layers | None = None
    fits: tuple[Fits, ...] = ()
    confusion: Confusion | None = None
    mistakes: Mistakes | None = None
    reproduction: Reproduction | None = None
    _files: tuple[Path, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the gate passed and no budget line was missed."""
        gate = self.fidelity is None or self.fidelity.passed
        return gate and all(verdict.outcome != "missed" for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the report as `report.json` holds it."""
        return self.model_dump(mode="json")

    @property
    def files(self) -> tuple[Path, ...]:
        """What the run that made it left for its target; empty where it was read again."""
        return self._files

    def with_files(self, files: Iterable[Path]) -> "Report":
        """Return it, knowing its files."""
        report = self.model_copy()
        report._files = tuple(files)  # noqa: SLF001 - its own
        return report

    def __rich__(self) -> "Group":
        from pipeline.report.view import to_rich  # noqa: PLC0415 - a terminal's view, rarely asked for

        return to_rich(self)

    def _repr_html_(self) -> str:
        from pipeline.report.view import to_html  # noqa: PLC0415 - a notebook's view, rarely asked for

        return to_html(self)
