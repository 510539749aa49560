"""The ledger as the report holds it."""

from collections.abc import Iterator
from typing import Any

from pipeline.ledger import account, of_inference, saved
from pipeline.report.made import Made
from pipeline.report.model import MeasurementFacts


def ledger(made: Made, measurements: tuple[MeasurementFacts, ...]) -> dict[str, Any] | None:
    """Return what the run took, what an inference takes, and what a million of them save against the teacher; None where nobody asked."""
    if made.recipe.ledger is None:
        return None
    inferences = list(_inferences(made, measurements))
    return {
        **account(made.done.values(), made.spent, made.recipe.ledger),
        "inferences": inferences,
        "saved": list(_saved(made, inferences)),
    }


def _inferences(made: Made, measurements: tuple[MeasurementFacts, ...]) -> Iterator[dict[str, Any]]:
    """Give each file's valid latency with one thread, with its energy where it is the target's own."""
    power = made.target.power if made.target else None
    for figure in measurements:
        if figure.quantity == "latency" and figure.threads == 1 and figure.valid:
            watts = power.active_w.value if power and made.target and figure.device == made.target.name else None
            yield {
                "file": figure.model,
                "device": figure.device,
                "label": figure.label,
                "latency_ms": figure.value,
                "energy_mj": of_inference(figure.value, watts),
            }


def _saved(made: Made, inferences: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    names = {row.title: made.done[row.model].artifact.kind for row in made.plan.rows}
    reference = f"{made.reference.title} "
    for own in inferences:
        for other in inferences:
            alike = names[own["file"]] == names[other["file"]] and own["device"] == other["device"]
            mine = any(row.title == own["file"] for row in made.file_rows())
            if alike and mine and other["file"].startswith(reference):
                yield {**saved(own, other), "label": own["label"]}
