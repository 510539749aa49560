"""A report's latencies: where each was taken, and the one that stands for a form of the network."""

from pipeline.report.model import MeasurementFacts, Report


def by_place(report: Report) -> list[tuple[str, int, list[MeasurementFacts]]]:
    """Return the latencies of each device and number of threads, the target's own first."""
    found: dict[tuple[str, int], list[MeasurementFacts]] = {}
    for each in report.measurements:
        if each.quantity == "latency":
            found.setdefault((each.device, each.threads), []).append(each)
    places = [(device, threads, figures) for (device, threads), figures in found.items()]
    return sorted(places, key=lambda place: place[0] != report.target)


def latency_of(report: Report, stage: str) -> MeasurementFacts | None:
    """Return a form's latency with one thread, on the target where there is one."""
    found = [each for _, threads, figures in by_place(report) if threads == 1 for each in figures]
    return next((each for each in found if each.model == stage), None)


def milliseconds(each: MeasurementFacts) -> str:
    """Return a latency with three figures."""
    return f"{each.value:.3g} {each.unit}"


def how(each: MeasurementFacts) -> str:
    """Return what a figure is, and whether it counts: "measured", "measured, INVALID"."""
    return each.label if each.valid else f"{each.label}, INVALID"


def with_label(each: MeasurementFacts) -> str:
    """Return a latency, what it is and where it was taken: "0.103 ms, measured on host"."""
    return f"{milliseconds(each)}, {each.label} on {each.device}{'' if each.valid else ', INVALID'}"
