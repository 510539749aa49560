"""Facts: a profile as rows of (what, value, source), what no source gives as "not published"."""

from collections.abc import Iterator
from typing import Any

from targets.schema import Fact, Memory, Target
from targets.summary import KIB_IN_MIB, size

NOT_PUBLISHED = "not published"
NOT_EMULATED = "none here"
EVERY_CORE = ("count", "clock_mhz", "features")
SHARED_MEMORY = ("ram_kib", "l2_kib", "l3_kib")
MICROCONTROLLER_MEMORY = ("ram_kib", "ram_block_kib", "flash_kib")
CORE_FACTS = (*EVERY_CORE, "l1_data_kib", "l1_instruction_kib", "l2_kib", "cluster_l2_kib")


def facts(target: Target) -> Iterator[tuple[str, Fact[Any] | None]]:
    """Yield (what, fact) for what a device of this kind has, None where its profile doesn't say how much."""
    yield "soc", target.soc
    small = target.kind == "microcontroller"
    for core in target.cores:
        for field in CORE_FACTS:
            fact = getattr(core, field)
            if fact or field in EVERY_CORE or (not small and field.startswith("l1")):
                yield f"{core.name} {field}", fact
    for field in Memory.model_fields:
        fact = getattr(target.memory, field)
        if fact or field in (MICROCONTROLLER_MEMORY if small else SHARED_MEMORY):
            yield f"shared {field}", fact
    if target.power or target.kind == "board":
        yield "board active_w", target.power.active_w if target.power else None
    yield "channel_multiple", target.channel_multiple
    if target.accelerator:
        yield f"{target.accelerator.name} clock_mhz", target.accelerator.clock_mhz
        yield f"{target.accelerator.name} sram_kib", target.accelerator.sram_kib


def cited(target: Target) -> Iterator[str]:
    """Yield the name of the source of everything that a profile says, as often as it is cited."""
    yield from (fact.source for _, fact in facts(target) if fact)
    yield from (runtime.source for runtime in target.runtimes)
    yield target.quantizer.source
    yield from (part.source for part in (target.accelerator, target.emulation) if part)
    yield from (figure.source for figure in (target.calibration.published if target.calibration else ()))


def describe(target: Target) -> list[tuple[str, str, str]]:
    """Return (what, value, source) rows of every fact, what has none as "not published"."""
    rows: list[tuple[str, str, str]] = []
    for what, fact in facts(target):
        if fact is None:
            rows.append((what, NOT_PUBLISHED, ""))
        else:
            rows.append((what, _shown(what, fact.value), target.sources[fact.source]))
    rows += [(what, value, target.sources[source]) for what, value, source in _settings(target)]
    if target.emulation is None:
        rows.append(("emulation", NOT_EMULATED, ""))
    return rows


def _shown(what: str, value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value} ({size(value)})" if what.endswith("_kib") and value >= KIB_IN_MIB else str(value)


def _settings(target: Target) -> Iterator[tuple[str, str, str]]:
    """Yield (what, value, name of the source) of what isn't hardware: runtimes, rules, and how it is measured here."""
    for runtime in target.runtimes:
        value = f"{runtime.delegate}, from {runtime.minimum}, operators of {runtime.operators!r}"
        yield f"{runtime.name} ({runtime.format})", value, runtime.source
    rules = target.quantizer
    scales = f"int{rules.weight_bits} weights, a scale each {rules.weight_scales}; {rules.activations} activations"
    yield "quantizer", scales, rules.source
    if target.accelerator:
        part = target.accelerator
        yield part.name, f"{part.configuration}, {part.system}, {part.memory_mode}", part.source
    if target.emulation:
        core = target.emulation
        yield "emulation", f"qemu-user, {core.bits} bit, -cpu {core.qemu_cpu}", core.source
        if core.stands_for:
            yield "emulation differs", core.stands_for, core.source
    for figure in target.calibration.published if target.calibration else ():
        name = f"published {figure.network} {figure.precision}, {figure.threads} threads"
        yield name, f"{figure.latency_ms} ms{'' if figure.fitted else ', not fitted'}", figure.source
