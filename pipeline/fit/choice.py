"""The choice among trials: the cheapest that keeps the budget on every target, the Pareto front, and in words what stands in the way.

A budget line is kept by the upper end of what is known: of the paired drop on validation, of the latency's band. That is how the report's
verdicts read it on the test split.
"""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.fit.trial import Fitness, Outcome
from pipeline.recipe import Budget

LEAST = 1e-12


def excess(outcome: Outcome, budget: Budget) -> dict[str, float]:
    """Return by budget line and target how far a trial is above the limit, as a share of it; 0 or less keeps it."""
    return {f"{line} on {each.target}": over for each in outcome.fitness for line, over in _lines(each, budget)}


def _lines(fitness: Fitness, budget: Budget) -> Iterator[tuple[str, float]]:
    if budget.max_drop is not None:
        yield "max_drop", (fitness.drop_high - budget.max_drop) / max(budget.max_drop, 0.01)
    if budget.size_kib is not None:
        yield "size_kib", fitness.size_kib / budget.size_kib - 1
    if budget.latency_ms is not None and fitness.latency_high_ms is not None:
        yield "latency_ms", fitness.latency_high_ms / budget.latency_ms - 1


def keeps(outcome: Outcome, budget: Budget) -> bool:
    """Whether a trial ended in a network that keeps each line on each target."""
    return bool(outcome.fitness) and all(over <= 0 for over in excess(outcome, budget).values())


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
    by_line = [(over, line, each) for each in cheaper for line, over in _broken_alone(each, budget)]
    if not by_line:
        return ""
    _, line, other = min(by_line, key=lambda found: (found[0], found[2].number))
    saved = 1 - relative_cost(other, outcomes[0]) / relative_cost(chosen, outcomes[0])
    return f"with {line.partition(' on ')[0]} = {_needs(other, line):.4g} the cost would fall by {saved:.0%}: trial {other.number}, {told(other)}"


def _broken_alone(outcome: Outcome, budget: Budget) -> Iterator[tuple[str, float]]:
    broken = {line: over for line, over in excess(outcome, budget).items() if over > 0}
    if len({line.partition(" on ")[0] for line in broken}) == 1:
        line = max(broken, key=lambda name: broken[name])
        yield line, broken[line]


def _needs(outcome: Outcome, line: str) -> float:
    """Return the limit that a trial would keep."""
    name, _, target = line.partition(" on ")
    each = next(found for found in outcome.fitness if found.target == target)
    figures = {"max_drop": each.drop_high, "size_kib": each.size_kib, "latency_ms": each.latency_high_ms or 0.0}
    return figures[name]


def wall(outcomes: Sequence[Outcome], budget: Budget) -> str:
    """Say which line nothing keeps together with the others, and how near the nearest trials come."""
    made = [outcome for outcome in outcomes if outcome.fitness]
    nearest = sorted(made, key=lambda each: (_worst(each, budget)[1], each.number))
    line, over = _worst(nearest[0], budget)
    told_of = "; ".join(f"trial {each.number}: {told(each)}" for each in nearest[:3])
    return f"no trial of {len(outcomes)} keeps the budget; the wall is {line}, {over:+.0%} above its limit at the nearest. {told_of}"


def _worst(outcome: Outcome, budget: Budget) -> tuple[str, float]:
    lines: Mapping[str, float] = excess(outcome, budget)
    worst = max(lines, key=lambda name: lines[name])
    return worst, lines[worst]


def _drop(outcome: Outcome) -> float:
    return max(each.drop for each in outcome.fitness)


def _drops(outcome: Outcome) -> tuple[float, float]:
    """Return the largest drop, and the upper end of the least certain one."""
    return _drop(outcome), max(each.drop_high for each in outcome.fitness)
