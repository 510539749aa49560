"""What a search found: every trial, the Pareto front, the chosen point and why, and what the search itself cost."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devices.pool import TakenOut
from pipeline.fit.choice import best, compared_by, costs_of, excess, front, keeps, looser, relative_costs, wall, why
from pipeline.fit.space import ORDER, Settings
from pipeline.fit.trial import MACS, Fitness, Outcome
from pipeline.ledger import Spent
from pipeline.recipe import Recipe
from pipeline.report.text import Sheet

MARKS = {True: "kept", False: "missed"}


@dataclass(frozen=True)
class Found:
    """A search's outcomes under a recipe's budget; `own` are the recipe's values of what was turned. `ended` is empty while it goes on."""

    recipe: Recipe
    own: Settings
    outcomes: tuple[Outcome, ...]
    boards_taken_out: tuple[TakenOut, ...] = ()
    spent: Spent = field(default_factory=Spent)
    ended: str = ""

    @property
    def chosen(self) -> Outcome | None:
        """The cheapest trial that keeps the budget, if any does."""
        return best(self.outcomes, self.recipe.budget)

    @property
    def why(self) -> str:
        """Why that one, and what the next looser budget would buy; without one, what stands in the way."""
        if not any(outcome.fitness for outcome in self.outcomes):
            return f"no trial of {len(self.outcomes)} ended in a network; the first said: {self.outcomes[0].error}"
        chosen, budget = self.chosen, self.recipe.budget
        if chosen is None:
            return wall(self.outcomes, budget)
        more = looser(chosen, self.outcomes, budget)
        return why(chosen, self.outcomes) + (f"; {more}" if more else "")

    @property
    def newest(self) -> str:
        """What the last trial changed, and where the search stands with it."""
        last = self.outcomes[-1]
        return f"trial {last.number}: {self.settings_text(last) or 'the recipe as it stands'}; {last.error or summary(self)}"

    @property
    def ledger(self) -> str:
        """What the trials took, and what they would have taken without what they share."""
        spent = sum(outcome.seconds for outcome in self.outcomes)
        shared = sum(outcome.shared_seconds for outcome in self.outcomes)
        energy = (
            f"; they used {self.spent.energy_wh:.3g} Wh and {self.spent.co2e_g:.3g} g CO2e ({self.spent.label}, {self.spent.how})"
            if self.spent.label
            else ""
        )
        return (
            f"{len(self.outcomes)} trials took {spent:.0f} s of training, export and judging (measured here); steps that were in the "
            f"store already would have taken {shared:.0f} s more{energy}"
        )

    def settings_text(self, outcome: Outcome) -> str:
        """Return what a trial changes of the recipe, as the command line takes it."""
        changed = {key: value for key, value in outcome.settings.items() if self.own[key] != value}
        return " ".join(f"--set {shlex.quote(f'{key}={_written(key, value)}')}" for key, value in changed.items())

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        chosen = self.chosen
        return {
            "schema": 1,
            "recipe": self.recipe.name,
            "targets": list(self.recipe.targets),
            "budget": self.recipe.budget.model_dump(exclude_none=True),
            "kept": chosen is not None,
            "chosen": None if chosen is None else chosen.number,
            "settings": {} if chosen is None else dict(chosen.settings),
            "why": self.why,
            "ended": self.ended,
            "ledger": self.ledger,
            "boards_taken_out": [asdict(board) for board in self.boards_taken_out],
            "front": [outcome.number for outcome in front(self.outcomes)],
            "trials": [
                {**outcome.to_json(), "excess": excess(outcome, self.recipe.budget)} for outcome in self.outcomes
            ],
        }

    def sheet(self) -> Sheet:
        """Return the trials as a table, the chosen one and those on the front marked."""
        columns = ("trial", "target", "changes", "score", "lost", "cost", "latency", "KiB", "budget")
        return Sheet("trials", columns, tuple(self._rows()), (self.why, f"the search ended: {self.ended}", self.ledger))

    def _rows(self) -> Iterator[tuple[str, ...]]:
        chosen, best_ones = self.chosen, {outcome.number for outcome in front(self.outcomes)}
        for outcome in self.outcomes:
            mark = " chosen" if outcome is chosen else " front" if outcome.number in best_ones else ""
            name, changes = f"{outcome.number}{mark}", self.settings_text(outcome) or "none"
            if outcome.error:
                yield (name, "", changes, outcome.error[:60], "", "", "", "", "")
            for each in outcome.fitness:
                yield (name, each.target, changes, *_figures(each), MARKS[keeps(outcome, self.recipe.budget)])
                name, changes = "", ""


def _figures(each: Fitness) -> tuple[str, ...]:
    latency = "" if each.latency_ms is None else f"{each.latency_ms:.3f} ms, {each.label}"
    cost = f"{each.cost:,.0f} {each.unit}" if each.quantity != "latency" else ""
    return (
        f"{each.score:.4f}",
        f"{each.drop:+.4f} to {each.drop_high:+.4f}",
        cost,
        latency,
        f"{each.size_kib:.1f}",
    )


def _written(key: str, value: Any) -> str:
    """Return a value as --set takes it: as TOML, a text plain."""
    if key == ORDER:
        return json.dumps(str(value).split(","))
    return str(value).lower() if isinstance(value, bool) else str(value)


def draw(found: Found, path: Path) -> None:
    """Draw score lost against cost, a panel a target, as SVG; trials whose costs aren't in one unit stand by their MACs."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - a second to import

    targets = found.recipe.targets
    figure = Figure(figsize=(6 * len(targets), 4.5), layout="constrained")
    for number, target in enumerate(targets):
        axes = figure.add_subplot(1, len(targets), number + 1)
        _panel(axes, found, number)
        axes.set_title(target)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _panel(axes: Any, found: Found, number: int) -> None:
    made = [outcome for outcome in found.outcomes if outcome.fitness]
    costs = {key: found_on[number] for key, found_on in costs_of(found.outcomes).items()}
    best_ones = sorted(front(found.outcomes), key=lambda each: costs[each.number])
    axes.scatter(*_points(made, costs, number), color="#8a8f98", label="trials, by number", zorder=2)
    shared = "Pareto front, with size" if len(found.recipe.targets) == 1 else "Pareto front, with size, of all targets"
    axes.scatter(*_points(best_ones, costs, number), color="#1f6fb2", label=shared, zorder=3)
    numbers: dict[tuple[float, ...], list[str]] = {}
    for outcome, *place in zip(made, *_points(made, costs, number), strict=True):
        numbers.setdefault(tuple(place), []).append(str(outcome.number))
    for point, there in numbers.items():
        axes.annotate(", ".join(there), point, xytext=(5, 5), textcoords="offset points", fontsize=8, color="#444")
    if found.chosen is not None:
        axes.scatter(
            *_points([found.chosen], costs, number), marker="*", s=220, color="#c0392b", label="chosen", zorder=4
        )
    if (limit := found.recipe.budget.max_drop) is not None:
        axes.axhline(limit, color="#444", linestyle="--", linewidth=1, label=f"max_drop = {limit:g}")
    axes.set_xlabel(_axis(found, made[0].fitness[number]))
    axes.set_ylabel("validation score lost, upper end of 95 %")
    axes.grid(visible=True, color="#e3e5e8", zorder=0)
    axes.legend(frameon=False)


def _points(outcomes: Sequence[Outcome], costs: Mapping[int, float], number: int) -> tuple[list[float], list[float]]:
    return [costs[each.number] for each in outcomes], [each.fitness[number].drop_high for each in outcomes]


def _axis(found: Found, first: Fitness) -> str:
    """Return what costs are told in, of one target."""
    if compared_by(found.outcomes) == MACS:
        return MACS
    return first.unit if first.quantity == first.unit else f"{first.quantity}, {first.unit} ({first.label})"


def summary(found: Found) -> str:
    """Return the chosen point against the recipe's own, in one line."""
    if found.chosen is None:
        return "the budget isn't kept"
    if not found.outcomes[0].fitness:
        return f"trial {found.chosen.number} keeps the budget; the recipe as it stands ended in no network"
    share = relative_costs(found.outcomes)[found.chosen.number]
    return f"trial {found.chosen.number} at {share:.0%} of the recipe's own {compared_by(found.outcomes)}"
