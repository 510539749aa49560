"""The ledger in words: a table of what making the network took, what an inference takes, and what a million of them save."""

from collections.abc import Iterator
from typing import Any

COLUMNS = ("what", "time", "processor time", "energy", "CO2e", "price", "how")


def rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Give the lines of the table."""
    made, kept = found["made"], found["found"]
    price = f"{made['money']:.4f} {made['currency']}"
    energy, gas = f"{made['energy_wh']:.3g} Wh", f"{made['co2e_g']:.3g} g"
    how = f"{made['label']}: {made['how']}"
    yield (f"{made['steps']} steps made now", *_times(made), energy, gas, price, how)
    yield (f"{kept['steps']} steps found in the store", *_times(kept), "", "", "", "as they were once made")
    for each in found["inferences"]:
        spent = "" if each["energy_mj"] is None else f"{each['energy_mj']:.3g} mJ"
        how = each["label"] + (", energy estimated by the board's typical power" if spent else "")
        yield (
            f"an inference of {each['file']} on {each['device']}",
            f"{each['latency_ms']:.3f} ms",
            "",
            spent,
            "",
            "",
            how,
        )
    for each in found["saved"]:
        spent = "" if each["energy_wh"] is None else f"{each['energy_wh']:.3g} Wh"
        what = f"saved by a million of {each['file']} on {each['device']}"
        yield (what, f"{each['hours']:.3g} h", "", spent, "", "", f"{each['label']}, against {each['instead_of']}")


def _times(row: dict[str, Any]) -> tuple[str, str]:
    """A step that was made before this was counted has no processor time."""
    return f"{row['seconds']:.0f} s", f"{row['cpu_seconds']:.0f} s" if row["cpu_seconds"] else ""
