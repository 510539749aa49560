"""The choice among trials: the cheapest that keeps the budget on every target, the Pareto front, and in words what stands in the way.

A budget line is kept by the upper end of what is known: of the paired drop on validation, of the latency's band. That is how the report's
verdicts read it on the test split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.fit.trial import Fitness, Outcome
from pipeline.recipe import Budget

LEAST = 1e-12
LEAST_DROP = 0.01
"""The limit that a drop is weighed by where the budget's own is smaller, so that a search minds its other lines too."""
FAILED = 1e6
"""What stands for a trial without a network, or a figure that nothing tells, where a search wants a number."""


@dataclass(frozen=True)
class Line:
    """A budget line on a target: its limit, and the upper end of what a trial is; None where nothing tells that."""

    name: str
    target: str
    limit: float
    figure: float | None

    def __str__(self) -> str:
        return f"{self.name} on {self.target}"

    @property
    def kept(self) -> bool:
        """Whether the figure is known, and not above the limit."""
        return self.figure is not None and self.figure <= self.limit

    @property
    def excess(self) -> float | None:
        """How far the figure is above the limit, as a share of it; None where that can't be said."""
        if self.figure is None or self.limit == 0:
            return None
        return (self.figure - self.limit) / self.limit

    @property
    def weight(self) -> float:
        """What a search takes for the excess; 0 or less keeps the line."""
        if self.figure is None:
            return FAILED
        return (self.figure - self.limit) / (max(self.limit, LEAST_DROP) if self.name == "max_drop" else self.limit)


def lines(outcome: Outcome, budget: Budget) -> list[Line]:
    """Return each budget line on each target."""
    return [
        Line(name, each.target, limit, _figure(each, name))
        for each in outcome.fitness
        for name, limit in budget.model_dump(exclude_none=True).items()
    ]


def _figure(each: Fitness, name: str) -> float | None:
    figures = {"max_drop": each.drop_high, "size_kib": each.size_kib, "latency_ms": each.latency_high_ms}
    return figures[name]


def excess(outcome: Outcome, budget: Budget) -> dict[str, float | None]:
    """Return by budget line and target how far a trial is above the limit; 0 or less keeps it, None is unknown, or a share of a limit of 0."""
    return {str(line): line.excess for line in lines(outcome, budget)}


def keeps(outcome: Outcome, budget: Budget) -> bool:
    """Whether a trial ended in a network that keeps each line on each target."""
    return bool(outcome.fitness) and all(line.kept for line in lines(outcome, budget))


def relative_cost(outcome: Outcome, first: Outcome) -> float:
    """Return a trial's cost against the first one's, averaged over the targets; the first may have failed, and then sizes stand in."""
    if not first.fitness:
        return sum(each.size_kib for each in outcome.fitness)
    shares = [each.cost / max(own.cost, LEAST) for each, own in zip(outcome.fitness, first.fitness, strict=True)]
    return sum(shares) / len(shares)


def best(outcomes: Sequence[Outcome], budget: Budget) -> Outcome | None:
    """Return the cheapest trial that keeps the budget; of equally cheap ones that which loses least."""
    kept = [outcome for outcome in outcomes if keeps(outcome, budget)]
    return min(kept, key=lambda each: (relative_cost(each, outcomes[0]), *_drops(each), each.number)) if kept else None


def front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the trials of which none is worse than another in drop, cost and size at once."""
    made = [outcome for outcome in outcomes if outcome.fitness]
    points = {each.number: objectives(each, outcomes[0]) for each in made}
    return [each for each in made if not any(_beats(other, points[each.number]) for other in points.values())]


def objectives(outcome: Outcome, first: Outcome) -> tuple[float, float, float]:
    """Return what is made small: the largest drop, the cost against the first trial's, the largest size."""
    return _drop(outcome), relative_cost(outcome, first), max(each.size_kib for each in outcome.fitness)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def why(chosen: Outcome, outcomes: Sequence[Outcome]) -> str:
    """Say why this trial was taken."""
    kept = f"trial {chosen.number} keeps every line of the budget at the least cost of {len(outcomes)} trials: {told(chosen)}"
    if chosen.number == 0 or not outcomes[0].fitness:
        return kept
    return f"{kept}; the recipe as it stood: {told(outcomes[0])}"


def told(outcome: Outcome) -> str:
    """Return what a trial is on each target, in a line."""
    return "; ".join(
        f"{each.target}: {_cost(each)}, {each.size_kib:.1f} KiB, {each.drop:+.4f} lost (up to {each.drop_high:+.4f})"
        for each in outcome.fitness
    )


def _cost(each: Fitness) -> str:
    if each.latency_ms is not None:
        return f"{each.latency_ms:.3f} ms ({each.label})"
    return f"{each.cost:,.0f} {each.unit} ({each.label})"


def looser(chosen: Outcome, outcomes: Sequence[Outcome], budget: Budget) -> str:
    """Say what the next looser budget would buy: the cheaper trial that breaks one line alone, and that least; nothing where there is none."""
    cheaper = [
        each
        for each in outcomes
        if each.fitness and relative_cost(each, outcomes[0]) < relative_cost(chosen, outcomes[0])
    ]
    by_line = [(line, each) for each in cheaper for line in _broken_alone(each, budget)]
    if not by_line:
        return ""
    line, other = min(by_line, key=lambda found: (found[0].weight, found[1].number))
    saved = 1 - relative_cost(other, outcomes[0]) / relative_cost(chosen, outcomes[0])
    return (
        f"with {line.name} = {line.figure:.4g} the cost would fall by {saved:.0%}: trial {other.number}, {told(other)}"
    )


def _broken_alone(outcome: Outcome, budget: Budget) -> Iterator[Line]:
    broken = [line for line in lines(outcome, budget) if not line.kept]
    if len({line.name for line in broken}) == 1 and all(line.figure is not None for line in broken):
        yield max(broken, key=lambda line: line.weight)


def wall(outcomes: Sequence[Outcome], budget: Budget) -> str:
    """Say which line nothing keeps together with the others, and how near the nearest trials come."""
    made = [outcome for outcome in outcomes if outcome.fitness]
    nearest = sorted(made, key=lambda each: (_worst(each, budget).weight, each.number))
    line = _worst(nearest[0], budget)
    near = "unknown" if line.figure is None else f"{line.figure:.4g}, above its limit of {line.limit:g},"
    told_of = "; ".join(f"trial {each.number}: {told(each)}" for each in nearest[:3])
    return f"no trial of {len(outcomes)} keeps the budget; the wall is {line}: {near} at the nearest. {told_of}"


def _worst(outcome: Outcome, budget: Budget) -> Line:
    return max(lines(outcome, budget), key=lambda line: line.weight)


def _drop(outcome: Outcome) -> float:
    return max(each.drop for each in outcome.fitness)


def _drops(outcome: Outcome) -> tuple[float, float]:
    """Return the largest drop, and the upper end of the least certain one."""
    return _drop(outcome), max(each.drop_high for each in outcome.fitness)
