"""The baseline: what each model was when it was last accepted, as a committed JSON file that diffs line by line.

    {"models": {"build/model.tflite": {"format": ..., "size_bytes": ..., "macs": ..., "operators": {...}, "inputs": [...],
       "outputs": [...], "quantization_sha256": ..., "agreement": {...}, "measurements": {"qemu for raspberry-pi-4,
       instructions, 1 thread": {...}}}}, "schema": 1, "tolerance_percent": {"size_bytes": 1.0, ...}}

Models are named by their path from the baseline's folder. `tolerance_percent` may be edited by hand: an update keeps it.
A figure is compared with one of the same device, runtime and version alone; what was taken otherwise is not comparable,
which is no regression. A latency is worse when its whole interval lies above the old one's by more than the tolerance.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from devices import Measurement
from pipeline.artifact import canonical_json
from pipeline.errors import RecipeError, StoreError, root_cause
from pipeline.gate.verdict import Agreement, Check

SCHEMA = 1
Count = Annotated[int, Field(ge=0, le=10**30)]
"""More is no file's; a float holds it, so that it can be compared."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
"""What isn't finite would be worse than nothing, and so pass whatever comes."""
MAX_BASELINE_BYTES = 16 * 2**20
TOLERANCE_PERCENT: Mapping[str, float] = {
    "size_bytes": 1.0,  # a converter's version and other metadata
    "macs": 0.0,
    "float_operators": 0.0,
    "peak_activation_bytes": 0.0,
    "counts": 0.5,  # instructions of equal files differ by 0.1 % between processes of a Python runtime
    "latency": 5.0,
    "accuracy": 0.2,  # of all samples
}


class Agreed(BaseModel):
    """How far a model agreed with its reference; nothing where it had none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    samples_sha256: str | None = None
    samples: Count | None = None
    max_lsb: float | None = None
    argmax_agreement: Finite | None = None
    accuracy: Finite | None = None


class Measured(BaseModel):
    """One figure of a device, and what it was taken with."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    value: Finite
    low: Finite
    high: Finite
    unit: str
    label: str
    runtime: str
    machine: str


class Entry(BaseModel):
    """One model as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: str
    fused_by: str = ""
    size_bytes: Count
    macs: Count | None = None
    peak_activation_bytes: Count | None = None
    float_operators: Count | None = None
    operators: dict[str, Count] = {}
    inputs: list[str] = []
    outputs: list[str] = []
    quantization_sha256: str | None = None
    agreement: Agreed = Agreed()
    measurements: dict[str, Measured] = {}


class Baseline(BaseModel):
    """The file; a model that isn't in it has no baseline yet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: int = Field(alias="schema")
    models: dict[str, Entry] = {}
    tolerance_percent: dict[str, Annotated[Finite, Field(ge=0)]] = {}

    def tolerance(self, key: str) -> float:
        """Return how many percent a figure may be worse by."""
        return self.tolerance_percent.get(key, TOLERANCE_PERCENT[key])


def read_baseline(path: Path) -> Baseline:
    """Read a baseline; RecipeError when there is none, or it isn't one."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BASELINE_BYTES + 1)
    except FileNotFoundError as error:
        raise RecipeError(f"no baseline {path}; make it with --update-baseline, then commit it") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"can't read baseline {str(path)!r:.200} ({getattr(error, 'strerror', error)})") from error
    if len(content) > MAX_BASELINE_BYTES:
        raise RecipeError(
            f"baseline {path} is larger than {MAX_BASELINE_BYTES} bytes; make it anew with --update-baseline"
        )
    try:
        baseline = Baseline.model_validate_json(content)
    except ValidationError as error:
        raise RecipeError(
            f"baseline {path}: {root_cause(error, {'schema', 'models', 'tolerance_percent'})}; make it anew with --update-baseline"
        ) from error
    if baseline.schema_ != SCHEMA:
        raise RecipeError(f"baseline {path} has schema {baseline.schema_}; this version reads {SCHEMA}")
    if unknown := sorted(set(baseline.tolerance_percent) - set(TOLERANCE_PERCENT)):
        raise RecipeError(f"baseline {path}: no tolerance {unknown[0]!r:.60}; known: {', '.join(TOLERANCE_PERCENT)}")
    return baseline


def entry_of(check: Check) -> Entry:
    """Return what a baseline keeps of a file; what an ONNX file runs as depends on the runtime that fused it."""
    facts = check.facts
    loads = facts.get("loads") or {}
    fused_by = f"{loads.get('runtime')} {loads.get('version')}" if check.format == "onnx" else ""
    return Entry(
        format=check.format,
        fused_by=fused_by,
        size_bytes=facts["size_bytes"],
        macs=facts.get("macs"),
        peak_activation_bytes=facts.get("peak_activation_bytes"),
        float_operators=facts.get("float_operators"),
        operators=dict(facts["operators"]),
        inputs=[_edge(edge) for edge in facts["inputs"]],
        outputs=[_edge(edge) for edge in facts["outputs"]],
        quantization_sha256=facts.get("quantization_sha256"),
        agreement=_agreement(check.agreement) if check.agreement else Agreed(),
        measurements={name_of(each, check.target): _measured(each) for each in check.measurements if each.valid},
    )


def name_of(measurement: Measurement, target: str | None) -> str:
    """Return what a measurement is called in a baseline: one place a quantity, device, target and number of threads."""
    where = f"{measurement.device} for {target}" if target else measurement.device
    return f"{where}, {measurement.quantity}, {measurement.threads} thread{'s' if measurement.threads != 1 else ''}"


def write_baseline(path: Path, old: Baseline | None, entries: Mapping[str, Entry]) -> bool:
    """Write a baseline with these models in it, whole or not at all, and return whether that changed the file.

    Models that weren't checked stay as they were, and so do a model's measurements on devices that weren't asked.
    """
    models = dict(old.models) if old else {}
    for name, entry in entries.items():
        before = models[name].measurements if name in models else {}
        models[name] = entry.model_copy(update={"measurements": {**before, **entry.measurements}})
    tolerances = {**TOLERANCE_PERCENT, **(old.tolerance_percent if old else {})}
    baseline = Baseline(schema=SCHEMA, models=models, tolerance_percent=tolerances)
    text = canonical_json(baseline.model_dump(by_alias=True, exclude_none=True)) + "\n"
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_whole(path, text)
    return True


def write_whole(path: Path, text: str) -> None:
    """Write a text file by rename, so that a reader sees the old content or the new; StoreError when that can't be done."""
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=".draft-", delete=False
        ) as file:
            draft = Path(file.name)
            file.write(text)
        draft.chmod(0o666 & ~_umask())
        draft.replace(path)
    except OSError as error:
        raise StoreError(
            f"can't write {path} ({error.strerror}); name another file, or make its folder writable"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def _umask() -> int:
    # The system tells it only by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _edge(edge: Mapping[str, Any]) -> str:
    shape = (
        "unknown" if edge["shape"] is None else "x".join("?" if size is None else str(size) for size in edge["shape"])
    )
    return f"{edge['name']}: {edge['dtype']} {shape}"


def _agreement(agreement: Agreement) -> Agreed:
    shares = [output.argmax_agreement for output in agreement.outputs if output.argmax_agreement is not None]
    return Agreed(
        samples_sha256=agreement.samples_sha256,
        samples=agreement.samples,
        max_lsb=max(output.max_lsb for output in agreement.outputs),
        argmax_agreement=min(shares) if shares else None,
        accuracy=agreement.accuracy.value if agreement.accuracy else None,
    )


def _measured(measurement: Measurement) -> Measured:
    return Measured(
        value=measurement.value,
        low=measurement.low,
        high=measurement.high,
        unit=measurement.unit,
        label=measurement.label,
        runtime=f"{measurement.runtime} {measurement.runtime_version}",
        machine=measurement.machine,
    )
