"""What a board says of itself before and after a run: governor, frequency, temperature, throttling, battery.

SCRIPT is a shell function, in the words that dash, busybox and Android's mksh share; it prints a line a fact and leaves out
what the board doesn't tell, which is None here and never 0. What slows a run down makes it invalid:
- a Raspberry Pi's firmware (`vcgencmd get_throttled`: bits 0-3 say under-voltage, capped, throttled, soft limit now; bits
  16-19 the same since start-up. Raspberry Pi documentation, "vcgencmd", get_throttled);
- a cooling device that holds the processor's clock back (Linux, Documentation/driver-api/thermal/sysfs-api.rst: `cur_state`
  is 0 where it does nothing);
- Android's own thermal status (`dumpsys thermalservice`: 0 none, 1 light, 2 moderate, 3 severe, ...; android.os.PowerManager,
  THERMAL_STATUS_*), or its battery saver, which caps the clocks.
A governor that isn't "performance" is told, and invalidates nothing: it is how most boards are used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MARK = "@edgepress"
CPU = "/sys/devices/system/cpu/cpu$1/cpufreq"
THERMAL = "/sys/class/thermal"
SCRIPT = (
    'facts() { { tell() { read -r said <"$2" && '
    f'echo "{MARK} $1 $said"; }}; '
    f"tell governor {CPU}/scaling_governor; tell freq_khz {CPU}/scaling_cur_freq; "
    f'for part in {THERMAL}/thermal_zone*; do read -r kind <"$part/type" && read -r said <"$part/temp" && '
    f'echo "{MARK} zone $said $kind"; done; '
    f'for part in {THERMAL}/cooling_device*; do read -r kind <"$part/type" && read -r said <"$part/cur_state" && '
    f'echo "{MARK} cooling $said $kind"; done; '
    f'command -v vcgencmd >/dev/null && echo "{MARK} throttled $(vcgencmd get_throttled | sed s/.*=//)"; '
    "command -v dumpsys >/dev/null && { "
    f'dumpsys thermalservice | sed -n "s/^Thermal Status: */{MARK} thermal_status /p"; '
    f'dumpsys battery | sed -n "s/^ *level: */{MARK} battery_percent /p"; '
    f'echo "{MARK} battery_saver $(settings get global low_power)"; }}; }} 2>/dev/null; :; }}'
)
"""Sensors are read by the shell itself: a phone has a hundred, and a process for each would warm it up before the run."""

NOW, EVER = 0xF, 16
CPU_ZONE = re.compile(r"cpu|soc|x86_pkg", re.IGNORECASE)
CPU_COOLING = re.compile(r"cpu|processor", re.IGNORECASE)
COLDEST_MC, HOTTEST_MC = -40_000, 150_000
"""Beyond these a sensor's figure is no temperature of a processor."""


@dataclass(frozen=True)
class Circumstances:
    """One look at a board; None where it doesn't say. `cooling` is the largest state of what holds the clock back."""

    governor: str | None = None
    freq_khz: int | None = None
    temp_mc: int | None = None
    cooling: int | None = None
    throttled: int | None = None
    thermal_status: int | None = None
    battery_percent: int | None = None
    battery_saver: bool = False


def read_circumstances(lines: list[str]) -> Circumstances:
    """Return what the lines of the shell function say; a line that makes no sense counts as not said."""
    facts = [line.split(maxsplit=3)[1:] for line in lines if line.startswith(MARK)]
    single = {fact[0]: fact[1] for fact in facts if len(fact) == 2}
    several = [fact for fact in facts if len(fact) == 3]
    zones = [(kind, _temperature(said)) for what, said, kind in several if what == "zone"]
    cooling = [_number(said) for what, said, kind in several if what == "cooling" and CPU_COOLING.search(kind)]
    return Circumstances(
        governor=single.get("governor"),
        freq_khz=_number(single.get("freq_khz")),
        temp_mc=_hottest(zones),
        cooling=max((state for state in cooling if state is not None), default=None),
        throttled=_number(single.get("throttled")),
        thermal_status=_number(single.get("thermal_status")),
        battery_percent=_number(single.get("battery_percent")),
        battery_saver=single.get("battery_saver") == "1",
    )


def held_back(before: Circumstances, after: Circumstances) -> str:
    """Say what held the board back during a run; empty where nothing is known to have."""
    if before.battery_saver or after.battery_saver:
        return "the battery saver was on; switch it off"
    now = ((before.throttled or 0) | (after.throttled or 0)) & NOW
    newly = (after.throttled or 0) >> EVER & ~((before.throttled or 0) >> EVER)
    if now or newly:
        return f"the board was throttled (get_throttled says {after.throttled or 0:#x}); check its supply and cooling"
    if status := max(before.thermal_status or 0, after.thermal_status or 0):
        return f"it was throttled for heat (thermal status {status}); let it cool down"
    if state := max(before.cooling or 0, after.cooling or 0):
        return f"its clock was held back for heat (cooling state {state}); let it cool down"
    return ""


def told(looks: list[tuple[Circumstances, Circumstances]]) -> str:
    """Return in a few words what the board said over several runs: what is unknown is left out."""
    every = [look for pair in looks for look in pair]
    governors = sorted({look.governor for look in every if look.governor})
    clocks = _span([look.freq_khz for look in every], 1000, "MHz")
    heat = _span([look.temp_mc for look in every], 1000, "°C")
    battery = _span([look.battery_percent for look in every], 1, "% battery")
    parts = [f"governor {'/'.join(governors)}" if governors else "", clocks, heat, battery]
    return ", ".join(part for part in parts if part)


def _span(values: list[int | None], divisor: int, unit: str) -> str:
    known: list[float] = [value / divisor for value in values if value is not None]
    if not known:
        return ""
    low, high = f"{min(known):.0f}", f"{max(known):.0f}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _hottest(zones: Sequence[tuple[str, int | None]]) -> int | None:
    """Return the highest temperature of the processor's zones, of all where none is named after one."""
    cpu = [value for kind, value in zones if CPU_ZONE.search(kind)] or [value for _, value in zones]
    return max((value for value in cpu if value is not None), default=None)


def _temperature(text: str) -> int | None:
    """Return millidegrees; some kernels tell whole degrees."""
    value = _number(text)
    if value is None or not COLDEST_MC < value < HOTTEST_MC or value == 0:
        return None
    return value * 1000 if 0 < value < 200 else value


def _number(text: str | None) -> int | None:
    try:
        return int(text, 0) if text and len(text) < 20 else None
    except ValueError:
        return None
