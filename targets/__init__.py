"""Targets: facts about devices, as data; one TOML file a device, each fact with its source.

`load_target("pixel-8")` reads a profile that ships here; `load_target("my-board.toml")` reads a user's own by the same
rules. What no source gives is absent, and `describe` shows it as "not published"; nothing is guessed.

A fact is written `{ value = 1500, source = "rpi" }`, where "rpi" names a line of the profile's `[sources]` table: a page,
a data sheet, or a file and its commit. Names of profiles are the device's own name in lower case, words joined by "-".
"""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import TargetError, did_you_mean

SCHEMA = 1
MAX_PROFILE_BYTES = 2**20
NOT_PUBLISHED = "not published"

Feature = Literal["neon", "fp16", "dotprod", "i8mm", "bf16", "sve2"]
Layout = Literal["NCHW", "NHWC"]
TensorType = Literal["int8", "uint8", "float32"]
Positive = Annotated[int, Field(gt=0)]
Value = TypeVar("Value")


class Record(BaseModel):
    """One table of a profile: frozen, strict, no key that isn't known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fact(Record, Generic[Value]):
    """A value and the name of the source that gives it."""

    value: Value
    source: str


class Core(Record):
    """Equal processor cores, the fastest group first; caches are private to each core."""

    name: str
    count: Fact[Positive]
    clock_mhz: Fact[Positive]
    features: Fact[tuple[Feature, ...]]
    l1_data_kib: Fact[Positive] | None = None
    l1_instruction_kib: Fact[Positive] | None = None
    l2_kib: Fact[Positive] | None = None


class Memory(Record):
    """What all cores share; `ram_kib` is the smallest size that is sold, `flash_kib` what holds a microcontroller's program."""

    ram_kib: Fact[Positive] | None = None
    flash_kib: Fact[Positive] | None = None
    l2_kib: Fact[Positive] | None = None
    l3_kib: Fact[Positive] | None = None


class Runtime(Record):
    """A runtime that runs one of our formats there; `minimum` is the oldest version that these facts were read for.

    `operators` names the table of what it takes, a file of `targets/operators/`.
    """

    name: Literal["litert", "onnxruntime", "tflite-runtime", "tflite-micro"]
    format: Literal["onnx", "tflite"]
    delegate: Literal["xnnpack", "cpu", "reference", "cmsis-nn", "esp-nn", "ethos-u"]
    operators: str
    minimum: str
    source: str


class FileFormat(Record):
    """What an exported file shows to its caller."""

    input_layout: Layout
    input_type: TensorType
    output_type: TensorType
    dynamic_batch: bool


class Formats(Record):
    """The two files that every export gives."""

    onnx: FileFormat
    tflite: FileFormat


class Quantizer(Record):
    """Rules for the quantiser: weights symmetric around 0 in `weight_bits`, one scale an output channel or one a tensor.

    `softmax_scale_denominator` = 256 fixes the scale of a softmax's output at 1/256.
    """

    weight_bits: Literal[7, 8]
    weight_scales: Literal["channel", "tensor"]
    activations: Literal["int8"]
    softmax_scale_denominator: Literal[256]
    source: str


class Accelerator(Record):
    """An Ethos-U beside the cores, in the words of Arm's compiler Vela: its accelerator, system and memory configurations."""

    name: Literal["Ethos-U55", "Ethos-U65", "Ethos-U85"]
    configuration: str = Field(pattern=r"^ethos-u(55|65|85)-[0-9]+$")
    system: str
    memory_mode: str
    clock_mhz: Fact[Positive] | None = None
    sram_kib: Fact[Positive] | None = None
    source: str


class Emulation(Record):
    """How qemu-user stands in for a core: QEMU's own name for it, and what the core says of itself in /proc/cpuinfo.

    `part`, `implementer`, `variant` and `revision` are the fields of the core's MIDR register, as Linux prints them;
    `hwcaps` is Linux's "Features" line. Instructions are the same only as far as the features are: `stands_for` says
    what the emulated core is, where QEMU has none of the device's own.
    """

    bits: Literal[32, 64]
    qemu_cpu: str
    implementer: str
    part: str
    variant: str
    revision: int
    hwcaps: tuple[str, ...]
    stands_for: str = ""
    source: str


class Published(Record):
    """A latency that somebody published for this device; `network` is named as `devices/latency_model.py` builds it."""

    network: str
    precision: Literal["float32", "int8"]
    threads: Positive
    latency_ms: Annotated[float, Field(gt=0)]
    fitted: bool
    source: str


class Calibration(Record):
    """The fitted constants of the latency model (`devices/latency_model.py`), and what they were fitted to.

    `compute` scales pipe cycles, `ms_per_mb` is the cost of modelled traffic to memory; `low_percent` and `high_percent`
    are the worst errors of a prediction that was left out of the fit.
    """

    compute: Annotated[float, Field(gt=0)]
    ms_per_mb: Annotated[float, Field(ge=0)]
    low_percent: float
    high_percent: float
    runtime: str
    published: tuple[Published, ...] = Field(min_length=1)


class Target(Record):
    """Facts about one device and the runtimes on it."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    kind: Literal["board", "phone", "microcontroller"]
    sources: dict[str, str]
    soc: Fact[str]
    cores: tuple[Core, ...] = Field(min_length=1)
    memory: Memory
    runtimes: tuple[Runtime, ...] = Field(min_length=1)
    formats: Formats
    quantizer: Quantizer
    channel_multiple: Fact[Positive]
    accelerator: Accelerator | None = None
    emulation: Emulation | None = None
    calibration: Calibration | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """What every core of the device can do."""
        return frozenset.intersection(*(frozenset(core.features.value) for core in self.cores))


def known_targets() -> tuple[str, ...]:
    """Return the names of the profiles that ship, sorted; reads no file."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.toml")))


def load_target(name_or_path: str | Path) -> Target:
    """Read a profile by its name, or a user's own by a path that ends in ".toml"; TargetError when there is none or it is wrong."""
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    if text not in known_targets():
        known = known_targets()
        raise TargetError(
            f"no target {text!r}; known: {', '.join(known)}{did_you_mean(text, known)}; or give the path of a .toml file"
        )
    return _read(Path(__file__).parent / f"{text}.toml")


def describe(target: Target) -> list[tuple[str, str, str]]:
    """Return (what, value, source) rows of every fact, what has none as "not published"."""
    rows: list[tuple[str, str, str]] = []
    for what, fact in _facts(target):
        if fact is None:
            rows.append((what, NOT_PUBLISHED, ""))
        else:
            value = ", ".join(fact.value) if isinstance(fact.value, tuple) else str(fact.value)
            rows.append((what, value, target.sources[fact.source]))
    return rows


def _facts(target: Target) -> Iterator[tuple[str, Fact[Any] | None]]:
    yield "soc", target.soc
    for core in target.cores:
        for field in ("count", "clock_mhz", "features", "l1_data_kib", "l1_instruction_kib", "l2_kib"):
            yield f"{core.name} {field}", getattr(core, field)
    for field in Memory.model_fields:
        yield f"shared {field}", getattr(target.memory, field)
    yield "channel_multiple", target.channel_multiple
    if target.accelerator:
        yield f"{target.accelerator.name} clock_mhz", target.accelerator.clock_mhz
        yield f"{target.accelerator.name} sram_kib", target.accelerator.sram_kib


def _read(path: Path) -> Target:
    data = _parse(path)
    schema = data.pop("schema", None)
    if schema != SCHEMA:
        raise TargetError(f"{path}: schema = {schema!r}; this version reads schema = {SCHEMA}")
    try:
        # By way of JSON: strict validation then takes an array for a tuple, and nothing else for anything else.
        target = Target.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise TargetError(f"{path}: {_root_cause(error)}") from error
    _check(target, path)
    return target


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PROFILE_BYTES + 1)
        if len(content) > MAX_PROFILE_BYTES:
            raise TargetError(f"{path} is larger than {MAX_PROFILE_BYTES} bytes; a target profile is a page of TOML")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise TargetError(
            f"no target profile {path} ({error.strerror}); known by name: {', '.join(known_targets())}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TargetError(f"{path} is no TOML: {str(error)[:200]}") from error


def _root_cause(error: ValidationError) -> str:
    # An unknown key explains the missing one that it was meant to be, so it is told first.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    where = [str(part) for part in details[0]["loc"]]
    if details[0]["type"] == "extra_forbidden":
        fields = _field_names()
        return f"unknown key {'.'.join(where)!r}{did_you_mean(where[-1], fields)}"
    found = repr(details[0]["input"])[:60]
    problem = details[0]["msg"][:1].lower() + details[0]["msg"][1:]
    return f"key {'.'.join(where)!r}: {problem}; found {found}"


def _field_names() -> set[str]:
    records: tuple[type[Record], ...] = (
        *(Target, Core, Memory, Runtime, Formats, FileFormat, Quantizer, Fact),
        *(Accelerator, Emulation, Published, Calibration),
    )
    return {name for record in records for name in record.model_fields}


def _check(target: Target, path: Path) -> None:
    if path.stem != target.name:
        raise TargetError(f"{path}: name = {target.name!r}; a profile is named after its file: {path.stem!r}")
    cited = (
        {fact.source for _, fact in _facts(target) if fact}
        | {runtime.source for runtime in target.runtimes}
        | {target.quantizer.source}
        | {part.source for part in (target.accelerator, target.emulation) if part}
        | {figure.source for figure in (target.calibration.published if target.calibration else ())}
    )
    if missing := sorted(cited - set(target.sources)):
        raise TargetError(
            f"{path}: no source {missing[0]!r} in [sources]; known: {', '.join(target.sources)}{did_you_mean(missing[0], target.sources)}"
        )
