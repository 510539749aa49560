"""What a guest sees of its processor: /proc/cpuinfo and /sys/devices/system/cpu, written from a target's profile.

QEMU looks for every absolute path in its prefix (`-L`) first. Without these files the runtimes read the host's: XNNPACK would
choose kernels for an x86 machine's caches, and ONNX Runtime 1.31 crashes while it is loaded. Each runtime tells a Cortex-A53
from an A72 by the MIDR register that these files repeat, and picks other kernels for it. Of a phone with several groups of
cores the guest sees the fastest alone.
Formats: Linux, Documentation/admin-guide/cputopology.rst, Documentation/ABI/testing/sysfs-devices-system-cpu and
arch/arm64/kernel/cpuinfo.c; arch/arm/kernel/setup.c for 32 bits. MIDR: Arm Architecture Reference Manual DDI 0487, D24.2.
"""

from pathlib import Path

from pipeline.errors import DeviceError
from targets import Core, Emulation, Target

LINE_BYTES = 64
WAYS = {1: 4, 2: 16, 3: 16}
"""By level, assumed: as in the plug-in's model of caches, since few sources publish them."""
MOST_CORES = 64
MOST_CACHE_KIB = 2**20


def write_overlay(folder: Path, target: Target, emulation: Emulation) -> None:
    """Write the files of a target's processor under a folder that becomes a guest's root."""
    core = target.cores[0]
    count = core.count.value if core.count else 1
    if count > MOST_CORES:
        raise DeviceError(f"target {target.name} has {count} cores in its first group; qemu stands in for {MOST_CORES}")
    _write(folder / "proc" / "cpuinfo", _cpuinfo(emulation, count))
    processors = folder / "sys" / "devices" / "system" / "cpu"
    for name in ("possible", "present", "online"):
        _write(processors / name, _span(count))
    _write(processors / "kernel_max", "255")
    for index in range(count):
        _write_core(processors / f"cpu{index}", index, count, target=target, emulation=emulation)


def cache_kib(target: Target) -> dict[str, int]:
    """Return the sizes of the caches that the fastest core reaches: l1d, l1i, l2, l3, each where it is published."""
    core = target.cores[0]
    level_3 = target.memory.l3_kib
    sizes = {
        "l1d": core.l1_data_kib.value if core.l1_data_kib else None,
        "l1i": core.l1_instruction_kib.value if core.l1_instruction_kib else None,
        "l2": target.second_level_kib,
        "l3": level_3.value if level_3 else None,
    }
    published = {name: size for name, size in sizes.items() if size}
    if too_large := [name for name, size in published.items() if size > MOST_CACHE_KIB]:
        raise DeviceError(
            f"target {target.name} has a cache {too_large[0]} of {published[too_large[0]]} KiB; "
            f"qemu's counter models up to {MOST_CACHE_KIB} KiB"
        )
    return published


def _cpuinfo(emulation: Emulation, count: int) -> str:
    lines = "".join(
        (
            f"processor\t: {index}\n"
            + ("model name\t: ARMv7 Processor rev {revision} (v7l)\n" if emulation.bits == 32 else "")
            + "BogoMIPS\t: 38.40\nFeatures\t: {hwcaps}\nCPU implementer\t: {implementer}\n"
            + f"CPU architecture: {7 if emulation.bits == 32 else 8}\n"
            + "CPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n"
        )
        for index in range(count)
    )
    return lines.format(**{**emulation.model_dump(), "hwcaps": " ".join(emulation.hwcaps)})


def _midr(emulation: Emulation) -> int:
    try:
        implementer, variant, part = (
            int(text, 16) for text in (emulation.implementer, emulation.variant, emulation.part)
        )
    except ValueError as error:
        raise DeviceError(
            "[emulation] implementer, variant and part are hexadecimal, e.g. '0xd08'; found "
            f"{emulation.implementer!r}, {emulation.variant!r}, {emulation.part!r}"
        ) from error
    return implementer << 24 | variant << 20 | 0xF << 16 | part << 4 | emulation.revision


def _write_core(folder: Path, index: int, count: int, *, target: Target, emulation: Emulation) -> None:
    core = target.cores[0]
    _write(folder / "regs" / "identification" / "midr_el1", f"0x{_midr(emulation):016x}")
    if core.clock_mhz:
        for name in ("cpuinfo_max_freq", "cpuinfo_min_freq", "scaling_cur_freq"):
            _write(folder / "cpufreq" / name, str(core.clock_mhz.value * 1000))
    everyone, alone = (f"{(1 << count) - 1:x}", _span(count)), (f"{1 << index:x}", str(index))
    topology = {"physical_package_id": "0", "core_id": str(index), "cluster_id": "0"}
    for name in ("core_siblings", "package_cpus", "cluster_cpus"):
        topology |= {name: everyone[0], f"{name}_list": everyone[1]}
    for name in ("core_cpus", "thread_siblings"):
        topology |= {name: alone[0], f"{name}_list": alone[1]}
    for name, text in topology.items():
        _write(folder / "topology" / name, text)
    for number, (level, kind, kib, shared) in enumerate(_caches(target, core)):
        whose = everyone if shared else alone
        cache = {"level": str(level), "type": kind, "size": f"{kib}K", "coherency_line_size": str(LINE_BYTES)}
        cache |= {"ways_of_associativity": str(WAYS[level]), "shared_cpu_map": whose[0], "shared_cpu_list": whose[1]}
        cache["number_of_sets"] = str(max(1, kib * 1024 // LINE_BYTES // WAYS[level]))
        for name, text in cache.items():
            _write(folder / "cache" / f"index{number}" / name, text)


def _caches(target: Target, core: Core) -> list[tuple[int, str, int, bool]]:
    """Return (level, type, KiB, shared by all) of each cache that is published."""
    sizes = cache_kib(target)
    kinds = {"l1d": (1, "Data", False), "l1i": (1, "Instruction", False)}
    kinds |= {"l2": (2, "Unified", core.l2_kib is None), "l3": (3, "Unified", True)}
    return [(kinds[name][0], kinds[name][1], kib, kinds[name][2]) for name, kib in sizes.items()]


def _span(count: int) -> str:
    return f"0-{count - 1}" if count > 1 else "0"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else f"{text}\n", encoding="ascii", errors="replace")
