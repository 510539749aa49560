"""The choice among trials: the cheapest that keeps the budget on every target, the Pareto front, and in words what stands in the way.

A budget line is kept by the upper end of what is known: of the paired drop on validation, of the latency's band. That is how the report's
verdicts read it on the test split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipeline.fit.trial import MACS, Fitness, Outcome
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


def compared_by(outcomes: Sequence[Outcome]) -> str:
    """Return by what trials are compared: "cost", or "MACs" where the costs of two on one target aren't in one unit."""
    units = {tuple((each.quantity, each.unit) for each in outcome.fitness) for outcome in outcomes if outcome.fitness}
    return "cost" if len(units) <= 1 else MACS


def costs_of(outcomes: Sequence[Outcome]) -> dict[int, list[float]]:
    """Return, by number, each network's cost on each target, in one unit a target: see `compared_by`."""
    by_macs = compared_by(outcomes) == MACS
    return {
        outcome.number: [float(each.macs) if by_macs else each.cost for each in outcome.fitness]
        for outcome in outcomes
        if outcome.fitness
    }


def relative_costs(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """Return, by number, each network's cost as a share of the first network's, averaged over the targets."""
    costs = costs_of(outcomes)
    first = next(iter(costs.values()), [])
    return {
        number: fmean(cost / max(own, LEAST) for cost, own in zip(found, first, strict=True))
        for number, found in costs.items()
    }


def best(outcomes: Sequence[Outcome], budget: Budget) -> Outcome | None:
    """Return the cheapest trial that keeps the budget; of equally cheap ones that which loses least."""
    costs = relative_costs(outcomes)
    kept = [outcome for outcome in outcomes if keeps(outcome, budget)]
    return min(kept, key=lambda each: (costs[each.number], *_drops(each), each.number)) if kept else None


def front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the trials that none beats in cost, size and the upper end of the drop at once: the figures that a budget judges."""
    made, small = [outcome for outcome in outcomes if outcome.fitness], objectives(outcomes)
    points = {each.number: (_drops(each)[1], *small[each.number][1:]) for each in made}
    return [each for each in made if not any(_beats(other, points[each.number]) for other in points.values())]


def objectives(outcomes: Sequence[Outcome]) -> dict[int, tuple[float, float, float]]:
    """Return, by number, what is made small of each network: the largest drop, the relative cost, the largest size."""
    costs = relative_costs(outcomes)
    return {
        each.number: (_drop(each), costs[each.number], max(on.size_kib for on in each.fitness))
        for each in outcomes
        if each.fitness
    }


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def why(chosen: Outcome, outcomes: Sequence[Outcome]) -> str:
    """Say why this trial was taken."""
    least = f"the least {compared_by(outcomes)} of {len(outcomes)} trials"
    kept = f"trial {chosen.number} keeps every line of the budget at {least}: {told(chosen)}"
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
    costs = relative_costs(outcomes)
    cheaper = [each for each in outcomes if each.fitness and costs[each.number] < costs[chosen.number]]
    by_line = [(line, each) for each in cheaper for line in _broken_alone(each, budget)]
    if not by_line:
        return ""
    line, other = min(by_line, key=lambda found: (found[0].weight, found[1].number))
    saved = f"the {compared_by(outcomes)} would fall by {1 - costs[other.number] / costs[chosen.number]:.0%}"
    return f"with {line.name} = {line.figure:.4g} {saved}: trial {other.number}, {told(other)}"


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
