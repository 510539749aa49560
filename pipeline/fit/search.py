"""The search: Optuna's tree-structured Parzen estimator over several objectives (Ozaki et al. 2020), under the budget as constraints.

Trials are asked for in batches of a fixed size and told in their order, whatever finishes first, and judged by counts: the same recipe, seed and
budget end at the same point; `hours` and `watt_hours` alone can end it sooner, on the way there. A trial that was made before costs nothing but its
reading, so a killed search goes on where it stood, and a finished one takes more trials.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import MissingExtraError
from pipeline.fit.choice import FAILED, best, lines, objectives, relative_costs
from pipeline.fit.space import Settings, Space
from pipeline.fit.trial import Outcome
from pipeline.ledger import Spent
from pipeline.recipe import Budget, Recipe, Search

Make = Callable[[Sequence[tuple[int, Settings]]], Iterator[Outcome]]
"""Makes the trials of a batch, given as number and settings, and gives their outcomes in that order."""
Values = tuple[Any, ...]

FUTILE_BATCHES = 4
"""So many batches in a row that hold nothing new end the search: the space is small."""


@dataclass
class Searching:
    """A search: iterate it for each new trial's outcome, the recipe's own first. `ended` then says why no more are asked for."""

    recipe: Recipe
    space: Space
    make: Make
    spent: Spent = field(default_factory=Spent)
    ended: str = ""

    def __iter__(self) -> Iterator[Outcome]:
        """Make trials until the promise is kept cheaply enough, or what the recipe grants is spent."""
        settings, started = self.recipe.fit, time.monotonic()
        study = _study(self.recipe.seed, settings.batch)
        study.enqueue_trial(dict.fromkeys(self.space, 0))
        made: dict[Values, Outcome] = {}
        bests: list[Outcome | None] = []
        futile = 0
        while not (ended := _ending(settings, list(made.values()), bests, futile) or self._over(started, bests)):
            asked = [study.ask(_distributions(self.space)) for _ in range(settings.batch)]
            wanted = [tuple(choices[each.params[key]] for key, choices in self.space.items()) for each in asked]
            new = [values for values in dict.fromkeys(wanted) if values not in made][: settings.trials - len(made)]
            jobs = [(len(made) + place, dict(zip(self.space, values, strict=True))) for place, values in enumerate(new)]
            for values, outcome in zip(new, self.make(jobs), strict=True):
                made[values] = outcome
                yield outcome
            outcomes = list(made.values())
            small = objectives(outcomes)
            for each, values in zip(asked, wanted, strict=True):
                if values in made:
                    _tell(study, each, made[values], small, self.recipe.budget)
            futile = 0 if new else futile + 1
            bests.append(best(outcomes, self.recipe.budget))
        self.ended = ended

    def _over(self, started: float, batches: Sequence[Outcome | None]) -> str:
        """Return what is used up of the time or the energy that the recipe grants; nothing while both last, or before the first batch."""
        granted = self.recipe.fit
        if not batches:
            return ""
        if granted.hours is not None and time.monotonic() - started > granted.hours * 3600:
            return f"{granted.hours:g} h are over; the same command goes on"
        if granted.watt_hours is not None and self.spent.energy_wh_so_far > granted.watt_hours:
            return f"{granted.watt_hours:g} Wh are used; the same command goes on"
        return ""


def _ending(settings: Search, outcomes: Sequence[Outcome], bests: Sequence[Outcome | None], futile: int) -> str:
    """Return why no further batch is asked for; nothing where one is."""
    made = len(outcomes)
    if made >= settings.trials:
        return f"its {settings.trials} trials are made; more go on from there"
    if futile >= FUTILE_BATCHES:
        return f"the space holds little more than the {made} trials made"
    if _enough(bests, relative_costs(outcomes), settings):
        last = "last batch" if settings.patience == 1 else f"last {settings.patience} batches"
        return f"the budget is kept, and the {last} made that cheaper by less than {settings.worthwhile:.0%}"
    return ""


def _study(seed: int, batch: int) -> Any:
    try:
        import optuna  # noqa: PLC0415 - a second to import, and only a search needs it
    except ModuleNotFoundError as error:
        raise MissingExtraError("a search needs optuna, which isn't installed; pip install 'edgepress[fit]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed % 2**32, multivariate=True, constant_liar=True, n_startup_trials=2 * batch
        )
    return optuna.create_study(directions=["minimize"] * 3, sampler=sampler)


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import IntDistribution  # noqa: PLC0415 - as above

    return {key: IntDistribution(0, len(values) - 1) for key, values in space.items()}


def _tell(study: Any, asked: Any, outcome: Outcome, small: Mapping[int, tuple[float, ...]], budget: Budget) -> None:
    if not outcome.fitness:
        asked.set_constraint("a network", FAILED)
        study.tell(asked, [FAILED] * 3)
        return
    for line in lines(outcome, budget):
        asked.set_constraint(str(line), line.weight)
    study.tell(asked, small[outcome.number])


def _enough(bests: Sequence[Outcome | None], costs: Mapping[int, float], settings: Search) -> bool:
    """Whether the promise is kept, and the last batches made its keeping cheaper by next to nothing."""
    if len(bests) <= settings.patience:
        return False
    now, before = bests[-1], bests[-1 - settings.patience]
    if now is None or before is None:
        return False
    return costs[now.number] > (1 - settings.worthwhile) * costs[before.number]
