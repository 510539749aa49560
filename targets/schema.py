"""The schema of a target profile: frozen records, strict, so that a typo is an error and not a silent default.

A fact is written `{ value = 1500, source = "rpi" }`, where "rpi" names a line of the profile's `[sources]` table. What a
profile may leave out is what a source may not say: whatever has a default here is shown as "not published" when absent.
"""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1

Feature = Literal[
    "neon", "fp16", "dotprod", "i8mm", "bf16", "sve2", "dsp", "fpu", "mve", "pie", "sse4", "avx2", "avx512", "vnni"
]
"""What speeds up a kernel.

Cortex-A: `neon` vectors, `fp16` arithmetic, `dotprod` (four int8 products an element and instruction), `i8mm` (int8
matrix products), `bf16`, `sve2`. Cortex-M: `dsp` (two 16-bit products an instruction), `fpu`, `mve` (Helium vectors).
Xtensa: `pie`, the vectors of the ESP32-S3. x86: `sse4`, `avx2`, `avx512`, and `vnni`, without which sums of int8 products saturate.
"""
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
    """Equal processor cores, the fastest group first; `clock_mhz` is the highest.

    Caches are private to each core, save `cluster_l2_kib`, which the cores of the group share.
    """

    name: str
    count: Fact[Positive] | None = None
    clock_mhz: Fact[Positive] | None = None
    features: Fact[tuple[Feature, ...]]
    l1_data_kib: Fact[Positive] | None = None
    l1_instruction_kib: Fact[Positive] | None = None
    l2_kib: Fact[Positive] | None = None
    cluster_l2_kib: Fact[Positive] | None = None


class Memory(Record):
    """What all cores share; `ram_kib` is the smallest size that is sold, `flash_kib` what holds a microcontroller's program.

    `ram_block_kib` is the largest part of a microcontroller's RAM that lies in one piece: an arena must fit in it.
    """

    ram_kib: Fact[Positive] | None = None
    ram_block_kib: Fact[Positive] | None = None
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
    """A latency that somebody published for this device, and what an inference of that network was counted to ask of a core.

    `mega_cycles` and `traffic_mb` are C and D of `devices/latency_model.py`; `fitted` says whether the calibration saw it.
    """

    network: str
    precision: Literal["float32", "int8"]
    threads: Positive
    latency_ms: Annotated[float, Field(gt=0)]
    mega_cycles: Annotated[float, Field(gt=0)]
    traffic_mb: Annotated[float, Field(ge=0)]
    fitted: bool
    source: str


class Calibration(Record):
    """The fitted constants of the latency model (`devices/latency_model.py`), and what they were fitted to.

    `compute` scales pipe cycles, `ms_per_mb` is the cost of modelled traffic to memory; `low_percent` and `high_percent`
    bound the error of a prediction with 95 %, as far as figures that were left out of the fit can tell.
    """

    compute: Annotated[float, Field(gt=0)]
    ms_per_mb: Annotated[float, Field(ge=0)]
    low_percent: float
    high_percent: float
    runtime: str
    published: tuple[Published, ...] = Field(min_length=1)


class Power(Record):
    """What the whole board draws at its typical load, in watts."""

    active_w: Fact[Annotated[float, Field(gt=0)]]


class Target(Record):
    """Facts about one device and the runtimes on it; `connect` says how a real one is reached, if it can be."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    title: str
    kind: Literal["board", "phone", "microcontroller"]
    connect: tuple[Literal["ssh", "adb"], ...] = ()
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
    power: Power | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """What every core of the device can do."""
        return frozenset.intersection(*(frozenset(core.features.value) for core in self.cores))

    @property
    def second_level_kib(self) -> int | None:
        """The second-level cache that the fastest core reaches, its own or a shared one; None where nobody published it."""
        core = self.cores[0]
        found = core.l2_kib or core.cluster_l2_kib or self.memory.l2_kib
        return found.value if found else None
