"""The ledger: what making the network took, and what running it takes beside its teacher.

Processor seconds are counted for each step as it is made (`pipeline.run`). Energy and CO2e are codecarbon's, offline, with the mean carbon intensity of a
country's grid: measured where the processor has counters, else estimated from its load and its rated power, and said so. A device's
energy is its profile's power figure for the time of an inference, an estimate: the whole board at its typical load.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.errors import MissingExtraError, RecipeError, did_you_mean
from pipeline.recipe import LedgerSettings
from pipeline.run import Done
from pipeline.store import Record

COUNTERS = ("intel_rapl", "intel_power_gadget", "windows_emi")
"""codecarbon's names for processors that count their energy."""
A_MILLION = 1_000_000


@dataclass
class Spent:
    """What was used while a meter ran; `label` is empty before its end, and where nobody asked."""

    energy_wh: float = 0.0
    co2e_g: float = 0.0
    label: str = ""
    how: str = ""
    meter: Callable[[], float] | None = field(default=None, repr=False, compare=False)

    @property
    def energy_wh_so_far(self) -> float:
        """What the meter stands at, in watt-hours; after its end, what it stood at."""
        return self.meter() if self.meter else self.energy_wh


@dataclass(frozen=True)
class Ahead:
    """What several workers made before the targets' turns, and what they used."""

    records: Sequence[Record] = ()
    spent: Spent = field(default_factory=Spent)

    def claim(self, done: Mapping[str, Done], own: Spent) -> tuple[dict[str, Done], Spent, "Ahead"]:
        """Return a target's steps and use with its part of this, by processor seconds, and what is left for the next targets."""
        keys = {each.record.key for each in done.values()}
        mine = [record for record in self.records if record.key in keys]
        rest = [record for record in self.records if record.key not in keys]
        part = _processor(mine) / (_processor(self.records) or 1.0)
        made = {record.key for record in mine}
        steps = {name: replace(each, cached=each.cached and each.record.key not in made) for name, each in done.items()}
        return steps, _sum(own, self.spent, part), Ahead(rest, _sum(Spent(), self.spent, 1.0 - part))


def _processor(records: Iterable[Record]) -> float:
    return float(sum(record.circumstances.get("cpu_seconds", 0.0) for record in records))


def _sum(spent: Spent, other: Spent, part: float) -> Spent:
    """Return a use with a part of another's."""
    energy, gas = spent.energy_wh + part * other.energy_wh, spent.co2e_g + part * other.co2e_g
    return Spent(energy, gas, spent.label or other.label, other.how if part else spent.how)


@contextmanager
def metered(settings: LedgerSettings | None, *, processes: int = 1) -> Iterator[Spent]:
    """Fill what is given at the end of the block; nothing is metered where the recipe has no [ledger].

    With several `processes` at work the whole machine is metered, whoever else uses it.
    """
    spent = Spent()
    if settings is None:
        yield spent
        return
    tracker = _tracker(settings, mode="machine" if processes > 1 else "process")
    tracker.start()
    spent.meter = lambda: _read(tracker)
    try:
        yield spent
    finally:
        tracker.stop()
        spent.meter = None
        found = tracker.final_emissions_data
        spent.energy_wh, spent.co2e_g = found.energy_consumed * 1000, found.emissions * 1000
        counted = any(getattr(part, "_mode", "") in COUNTERS for part in tracker._hardware)  # noqa: SLF001 - told nowhere else
        spent.label = "measured" if counted else "estimated"
        spent.how = f"{'this machine' if processes > 1 else 'this process'} by codecarbon {found.codecarbon_version}, {found.cpu_model}, {found.country_name}"


def _read(tracker: Any) -> float:
    tracker.flush()
    return float(tracker._total_energy.kWh * 1000)  # noqa: SLF001 - told only once it has stopped


def _tracker(settings: LedgerSettings, *, mode: str) -> Any:
    try:
        from codecarbon import OfflineEmissionsTracker  # noqa: PLC0415 - only who keeps a ledger needs it
        from codecarbon.input import DataSource  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "[ledger] needs codecarbon, which isn't installed; pip install 'edgepress[ledger]'"
        ) from error
    known = DataSource().get_global_energy_mix_data()
    if settings.country not in known:
        raise RecipeError(
            f"[ledger] country = {settings.country!r} is none of the {len(known)} whose grids codecarbon knows; "
            f"give ISO 3166's three letters, e.g. DEU{did_you_mean(settings.country, known)}"
        )
    logging.getLogger("codecarbon").disabled = True  # it tells of each start, on stderr
    return OfflineEmissionsTracker(
        country_iso_code=settings.country, output_methods=[], tracking_mode=mode, allow_multiple_runs=True
    )


def account(done: Iterable[Done], spent: Spent, settings: LedgerSettings) -> dict[str, Any]:
    """Return what a run's steps took: those made now with their energy and price, those found in the store by their seconds."""
    sums = {
        True: {"steps": 0, "cpu_seconds": 0.0, "seconds": 0.0},
        False: {"steps": 0, "cpu_seconds": 0.0, "seconds": 0.0},
    }
    for each in done:
        row = sums[each.cached]
        row["steps"] += 1
        row["seconds"] += each.record.seconds
        row["cpu_seconds"] += _processor([each.record])
    money = sums[False]["seconds"] / 3600 * settings.price_per_hour
    used = {"energy_wh": spent.energy_wh, "co2e_g": spent.co2e_g, "label": spent.label, "how": spent.how}
    return {"made": {**sums[False], **used, "money": money, "currency": settings.currency}, "found": sums[True]}


def of_inference(latency_ms: float, power_w: float | None) -> float | None:
    """Return the millijoules of an inference on a board of this power; None where nobody published it."""
    return None if power_w is None else latency_ms * power_w


def saved(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a million inferences save: hours, and watt-hours where the energy of one is known."""
    hours = (other["latency_ms"] - own["latency_ms"]) * A_MILLION / 3.6e6
    known = own["energy_mj"] is not None and other["energy_mj"] is not None
    energy = (other["energy_mj"] - own["energy_mj"]) * A_MILLION / 3.6e6 if known else None
    return {
        "file": own["file"],
        "instead_of": other["file"],
        "device": own["device"],
        "hours": hours,
        "energy_wh": energy,
    }
