"""A benchmark as tables for a terminal: a table a file, the comparison, what each operator takes, and what must be known."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devices import Measurement
from devices.layer_times import caveat
from devices.statistics import LEAST_VALUES
from pipeline.bench import Quantities, in_words, ratio_text
from pipeline.benchmark import Benchmark

US_IN_MS = 1000.0
LEAST_MS = 0.1
"""What is shorter is told in microseconds."""
MIB_FROM_KIB = 1024.0
MOST_LAYERS = 200


def print_benchmark(found: Benchmark, console: Console) -> None:
    """Print all that was found out."""
    for quantities in (found.measured, found.against):
        if quantities:
            console.print(Text(_title(quantities[0]), style="bold"), _quantities(quantities), sep="\n")
    if found.layers:
        console.print(Text("what each operator takes, slowest first", style="bold"), _layers(found), sep="\n")
    for line in (_comparison(found), caveat(found.layers), _machine(found.measured[0]), *_hows(found), *found.notes):
        if line:
            console.print(Text(line))


def _title(first: Measurement) -> str:
    threads = f"{first.threads} thread{'s' * (first.threads > 1)}"
    processes = f", {first.processes} fresh processes" if first.processes > 1 else ""
    return f"{first.model} on {first.device}: {first.runtime} {first.runtime_version}, {threads}{processes}"


def _quantities(quantities: Quantities) -> Table:
    table = Table(pad_edge=False)
    timed = quantities[0].processes > 1  # what nobody timed has no spread to tell
    spread = ("p90", "p99", "samples", "drift") if timed else ()
    interval = "95 %" if quantities[0].processes >= LEAST_VALUES else "range"
    for column in ("quantity", f"median [{interval}]" if timed else "value", *spread, "label"):
        table.add_column(Text(column), justify="left" if column in ("quantity", "label") else "right", overflow="fold")
    for each in quantities:
        label = each.label if each.valid else f"{each.label}, INVALID"
        cells = (each.quantity, _value(each), *(_spread(each) if timed else ()), label)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _spread(each: Measurement) -> tuple[str, ...]:
    p90, p99 = ("" if value is None else _one(value, each.unit) for value in (each.p90, each.p99))
    return p90, p99, f"{each.samples:,}", "" if each.drift is None else f"{100 * each.drift:+.1f} %"


def _layers(found: Benchmark) -> Table:
    table = Table(pad_edge=False)
    timed = found.layers[0].unit == "us"
    for column in ("operator", "name", "median" if timed else "value", "share"):
        table.add_column(column, justify="left" if column in ("operator", "name") else "right", overflow="fold")
    ranked = sorted(found.layers, key=lambda layer: -layer.value)
    for layer in ranked[:MOST_LAYERS]:
        cells = (layer.operator, layer.name, _one(layer.value, layer.unit), f"{100 * layer.share:.1f} %")
        table.add_row(*(Text(cell) for cell in cells))
    if len(ranked) > MOST_LAYERS:
        table.add_row("", f"and {len(ranked) - MOST_LAYERS} more; --json has them all", "", "")
    return table


def _comparison(found: Benchmark) -> str:
    if found.comparison is None:
        return ""
    first, second, ratio = found.measured[0], found.against[0], found.comparison.ratio
    both = f"{first.model} against {second.model}: {first.quantity} {_one(first.value, first.unit)} to {_one(second.value, second.unit)}"
    pairs = (
        f", 99 % interval over {first.processes} pairs of processes in turns" if found.comparison.interleaved else ""
    )
    word = in_words(found.comparison, first.unit)
    verdict = f"{first.model} is {word}" if word in ("faster", "slower") else f"{first.model} takes {word}"
    verdict = word if word == "no difference shown" else verdict
    why = f" ({found.comparison.why})" if found.comparison.why else ""
    banded = ratio.low < ratio.high or pairs
    told = ratio_text(ratio.value, ratio.low, ratio.high) if banded else f"{ratio.value:.3f}"
    name = "median ratio of pairs" if pairs else "ratio"
    return f"{both}, {name} {told}{pairs}: {verdict}{why}"


def _machine(first: Measurement) -> str:
    return f"{first.device}: {first.machine}; {first.made_at}"


def _hows(found: Benchmark) -> list[str]:
    """Say where the figures come from, once each."""
    by_how: dict[str, list[str]] = {}
    for each in (*found.measured, *found.against):
        if each.how and each.quantity not in by_how.setdefault(each.how, []):
            by_how[each.how].append(each.quantity)
    return [f"{', '.join(quantities)}: {how}" for how, quantities in by_how.items()]


def _value(each: Measurement) -> str:
    exact = each.low == each.high == each.value
    return _one(each.value, each.unit) if exact else f"{_one(each.value, each.unit)} [{_bounds(each)}]"


def _bounds(each: Measurement) -> str:
    """Return the interval in the unit in which the value is told."""
    scale, unit = _scale(each.value, each.unit)
    return f"{_digits(each.low * scale, unit)}, {_digits(each.high * scale, unit)}"


def _one(value: float, unit: str) -> str:
    scale, told = _scale(value, unit)
    return f"{_digits(value * scale, told)} {told}"


def _scale(value: float, unit: str) -> tuple[float, str]:
    if unit == "us" and value >= LEAST_MS * US_IN_MS:
        return 1 / US_IN_MS, "ms"
    if unit == "KiB" and value >= 10 * MIB_FROM_KIB:
        return 1 / MIB_FROM_KIB, "MiB"
    return 1.0, unit


def _digits(value: float, unit: str) -> str:
    if unit == "ms":
        return f"{value:.3f}"
    if unit == "us":
        return f"{value:.2f}"
    return f"{value:,.1f}" if unit in ("KiB", "MiB", "%") else f"{value:,.0f}"
