"""A profile in one line: what helps to choose between devices, from the facts alone."""

from dataclasses import asdict, dataclass
from typing import Any

from targets.schema import Core, Memory, Target

KIB_IN_MIB = 1024
KIB_IN_GIB = 1024 * 1024
FOR_INT8 = ("i8mm", "dotprod", "vnni", "mve", "pie", "dsp", "neon", "avx512", "avx2", "sse4")
"""What speeds up int8, the best first: the first two that a device has are shown."""
WAYS = {
    "qemu": "emulated: its own kernels run and are counted here; time is estimated where the profile is calibrated",
    "vela": "the accelerator's time and memory, estimated by Arm's compiler",
    "tflm": "memory only, measured by TensorFlow Lite Micro here",
    "ssh": "a real one in your network, measured",
    "adb": "a real one at your cable, measured",
}
"""How a file can be measured for a device, in the words of `--device`."""
TELLS = {
    "measured": "timed on a real one: ssh in your network, adb at your cable",
    "estimated": "qemu: by counts, with the errors that the model made on published figures; vela: by Arm's compiler",
    "counted": "qemu: what its runtime's own kernels run, emulated here; files can be ranked, and nobody knows milliseconds",
    "memory": "tflm: the arena of TensorFlow Lite Micro, measured here, and no latency",
}
"""What a device tells of a target, as `Summary.latency` says it."""


@dataclass(frozen=True)
class Summary:
    """What one line of the list shows; what isn't published is "?" in words and None in numbers."""

    name: str
    title: str
    kind: str
    cores: str
    memory: str
    int8: str
    formats: tuple[str, ...]
    runtimes: tuple[str, ...]
    measured_with: tuple[str, ...]
    latency: dict[str, str]
    active_w: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return asdict(self)


def summary(target: Target) -> Summary:
    """Return a target in one line."""
    return Summary(
        name=target.name,
        title=target.title,
        kind=target.kind,
        cores=" + ".join(_core(core) for core in target.cores),
        memory=_memory(target.memory),
        int8=_int8(target),
        formats=tuple(sorted({runtime.format for runtime in target.runtimes})),
        runtimes=tuple(dict.fromkeys(runtime.name for runtime in target.runtimes)),
        measured_with=measured_with(target),
        latency=latency(target),
        active_w=target.power.active_w.value if target.power else None,
    )


def measured_with(target: Target) -> tuple[str, ...]:
    """Return the devices of `WAYS` that can tell something of a target."""
    has = {
        "qemu": target.emulation is not None,
        "vela": target.accelerator is not None,
        "tflm": any(runtime.name == "tflite-micro" for runtime in target.runtimes),
    } | dict.fromkeys(target.connect, True)
    return tuple(way for way in WAYS if has.get(way))


def latency(target: Target) -> dict[str, str]:
    """Return what each device of `measured_with` tells of a target: a word of TELLS, an estimate with its band."""
    fitted = target.calibration
    estimated = f"estimated {fitted.low_percent:+.0f} to {fitted.high_percent:+.0f} %" if fitted else "counted"
    words = {"ssh": "measured", "adb": "measured", "vela": "estimated", "tflm": "memory", "qemu": estimated}
    ways = measured_with(target)
    return {way: word for way, word in words.items() if way in ways}


def size(kib: float) -> str:
    """Return a size as people say it: 12.5 KiB, 2 MiB, 1.5 GiB."""
    for unit, name in ((KIB_IN_GIB, "GiB"), (KIB_IN_MIB, "MiB")):
        if kib >= unit:
            return f"{kib / unit:.4g} {name}"
    return f"{kib:.4g} KiB"


def _core(core: Core) -> str:
    count = f"{core.count.value}x " if core.count else ""
    name = core.name.partition(",")[0].removeprefix("Cortex-")
    return f"{count}{name}@{core.clock_mhz.value if core.clock_mhz else '?'}"


def _memory(memory: Memory) -> str:
    ram = size(memory.ram_kib.value) if memory.ram_kib else "?"
    return f"{ram} + {size(memory.flash_kib.value)}" if memory.flash_kib else ram


def _int8(target: Target) -> str:
    if target.accelerator:
        return target.accelerator.configuration
    return " ".join([feature for feature in FOR_INT8 if feature in target.features][:2])
