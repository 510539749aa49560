"""Figures of the network's inside: what each operator costs and takes, and how far the forms agree, layer by layer."""

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.report import charts
from pipeline.report.figures import Figure, in_bytes, shortened
from pipeline.report.model import LayerCost, LayerPair, Layers, LayerTimes
from pipeline.report.text import Sheet

MOST_DRAWN, LEAST_SHARE = 32, 0.01
"""Layers in one chart, and of the largest what the smallest must be; the table has all of them."""


def layer_figures(found: Layers) -> Iterator[Figure]:
    """Give multiply-accumulates and weights, times by device, agreement by pair of forms; what isn't known is left out."""
    numbered = list(enumerate(found.costs, 1))
    if any(cost.macs for cost in found.costs):
        yield _costs(found, numbered, "Multiply-accumulates by operator", "MACs")
    if any(cost.weight_bytes for cost in found.costs):
        yield _costs(found, numbered, "Constants by operator", "bytes")
    yield from (_times(times) for times in found.times if times.layers)
    if found.pairs:
        yield _agreement(found.pairs)


def _costs(found: Layers, numbered: Sequence[tuple[int, LayerCost]], title: str, unit: str) -> Figure:
    counts = unit == "MACs"

    def of(cost: LayerCost) -> int:
        return (cost.macs or 0) if counts else cost.weight_bytes

    shown = shortened if counts else in_bytes
    costly = [(number, cost) for number, cost in numbered if of(cost)]
    rows = [_row(f"{number} {cost.operator}", of(cost), shown(of(cost))) for number, cost in costly]
    table = Sheet(
        "",
        ("", "operator", "makes", unit),
        tuple((str(number), cost.operator, cost.name, f"{of(cost):,}") for number, cost in numbered),
    )
    total = sum(of(cost) for _, cost in costly)
    top = max(costly, key=lambda each: of(each[1]))
    says = f"{found.file}: {shown(total)}{' MACs' * counts} in {len(costly)} operators; the most, {of(top[1]) / total:.0%}, in {top[0]} {top[1].operator}."
    return Figure(title, says, charts.bars(_drawn(rows), title=unit), table, _rest(rows))


def _times(times: LayerTimes) -> Figure:
    unit = times.layers[0].unit
    rows = [
        _row(f"{number} {layer.operator}", layer.value, f"{layer.share:.0%}")
        for number, layer in enumerate(times.layers, 1)
    ]
    table = Sheet(
        "",
        ("", "operator", "name", f"median, {unit}", "share"),
        tuple(
            (str(number), layer.operator, layer.name, f"{layer.value:,.4g}", f"{layer.share:.1%}")
            for number, layer in enumerate(times.layers, 1)
        ),
    )
    top = max(enumerate(times.layers, 1), key=lambda each: each[1].value)
    says = (
        f"{times.file} on {times.device}, {times.label}: the most, {top[1].share:.0%}, in {top[0]} {top[1].operator}."
    )
    note = ". ".join(
        part for part in (times.how.capitalize() if times.how[:1].islower() else times.how, _rest(rows)) if part
    )
    return Figure(
        f"Time by operator, {times.file} on {times.device}", says, charts.bars(_drawn(rows), title=unit), table, note
    )


def _agreement(pairs: Sequence[LayerPair]) -> Figure:
    names = [f"{pair.one} against {pair.other}" for pair in pairs]
    cells = [
        {
            "at": at,
            "x": number,
            "apart": layer.max_lsb,
            "shown": str(layer.max_lsb),
            "tip": f"{number} {layer.operator}: {layer.equal:.2%} equal, up to {layer.max_lsb} LSB",
        }
        for at, pair in enumerate(pairs)
        for number, layer in enumerate(pair.layers, 1)
    ]
    table = Sheet(
        "",
        ("forms", "layer", "activation", "equal", "largest difference"),
        tuple(
            (name, f"{number} {layer.operator}", layer.name, f"{layer.equal:.2%}", f"{layer.max_lsb} LSB")
            for name, pair in zip(names, pairs, strict=True)
            for number, layer in enumerate(pair.layers, 1)
        ),
    )
    parted = "; ".join(pair.first_divergence for pair in pairs if pair.first_divergence)
    says = f"First to differ: {parted}." if parted else "Every activation is the same integer in all forms."
    note = "Largest difference of each int8 activation, in steps of its scale (LSB), on four validation samples."
    return Figure("Do the forms agree inside?", says, charts.strips(cells, names, title="layer"), table, note)


def _row(
    name: str,
    value: float,
    shown: str,
) -> dict[str, Any]:
    return {"name": name, "value": value, "shown": shown, "role": "network"}


def _drawn(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the largest, in the order of the network; what is too small to be seen is left to the table."""
    least = LEAST_SHARE * max(row["value"] for row in rows)
    kept = sorted(range(len(rows)), key=lambda number: -rows[number]["value"])[:MOST_DRAWN]
    return [rows[number] for number in sorted(kept) if rows[number]["value"] >= least]


def _rest(rows: Sequence[dict[str, Any]]) -> str:
    shown = len(_drawn(rows))
    return f"The {shown} largest of {len(rows)}; the table has all" if shown < len(rows) else ""
