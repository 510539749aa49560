"""Facts: a profile as rows of (what, value, source), what no source gives as "not published"."""

from collections.abc import Iterator
from typing import Any

from targets.schema import Fact, Memory, Target

NOT_PUBLISHED = "not published"
CORE_FACTS = ("count", "clock_mhz", "features", "l1_data_kib", "l1_instruction_kib", "l2_kib", "cluster_l2_kib")


def facts(target: Target) -> Iterator[tuple[str, Fact[Any] | None]]:
    """Yield (what, fact) for everything that a profile may say of the hardware, None where it says nothing."""
    yield "soc", target.soc
    for core in target.cores:
        for field in CORE_FACTS:
            fact = getattr(core, field)
            if fact or not field.endswith("l2_kib"):
                yield f"{core.name} {field}", fact
    for field in Memory.model_fields:
        yield f"shared {field}", getattr(target.memory, field)
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
            rows.append((what, _shown(fact.value), target.sources[fact.source]))
    return rows + [(what, value, target.sources[source]) for what, value, source in _settings(target)]


def _shown(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)


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
