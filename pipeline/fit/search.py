"""The search: Optuna's tree-structured Parzen estimator over several objectives (Ozaki et al. 2020), under the budget as constraints.

Trials are asked for in batches of a fixed size and told in their order, whatever finishes first, and judged by counts: the same recipe, seed and
budget end at the same point. A trial that was made before costs nothing but its reading, so a killed search goes on where it stood, and a
finished one takes more trials.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import MissingExtraError
from pipeline.fit.choice import best, excess, objectives, relative_cost
from pipeline.fit.space import Space
from pipeline.fit.trial import Bench, Outcome

FUTILE_BATCHES = 4
"""So many batches in a row that hold nothing new end the search: the space is small."""
FAILED = 1e6


def search(bench: Bench, space: Space) -> Iterator[Outcome]:
    """Give each new trial's outcome, the recipe's own first, until the promise is kept cheaply enough, or the trials are spent."""
    settings = bench.recipe.fit
    study = _study(bench.recipe.seed, settings.batch)
    study.enqueue_trial(dict.fromkeys(space, 0))
    made: dict[tuple[Any, ...], Outcome] = {}
    best_costs: list[float] = []
    futile = 0
    while len(made) < settings.trials and futile < FUTILE_BATCHES and not _enough(best_costs, bench):
        before = len(made)
        for asked in [study.ask(_distributions(space)) for _ in range(settings.batch)]:
            values = {key: choices[asked.params[key]] for key, choices in space.items()}
            key = tuple(values.values())
            if key not in made and len(made) < settings.trials:
                made[key] = bench.make(len(made), values)
                yield made[key]
            if key in made:
                _tell(study, asked, made[key], list(made.values()), bench)
        futile = futile + 1 if len(made) == before else 0
        best_costs.append(_best_cost(list(made.values()), bench))


def _study(seed: int, batch: int) -> Any:
    try:
        import optuna  # noqa: PLC0415 - a second to import, and only a search needs it
    except ModuleNotFoundError as error:
        raise MissingExtraError("a search needs optuna, which isn't installed; pip install 'edgepress[fit]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=2 * batch
        )
    return optuna.create_study(directions=["minimize"] * 3, sampler=sampler)


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import IntDistribution  # noqa: PLC0415 - as above

    return {key: IntDistribution(0, len(values) - 1) for key, values in space.items()}


def _tell(study: Any, asked: Any, outcome: Outcome, outcomes: Sequence[Outcome], bench: Bench) -> None:
    if not outcome.fitness:
        asked.set_constraint("a network", FAILED)
        study.tell(asked, [FAILED] * 3)
        return
    for line, over in excess(outcome, bench.recipe.budget).items():
        asked.set_constraint(line, over)
    study.tell(asked, objectives(outcome, outcomes[0]))


def _best_cost(outcomes: Sequence[Outcome], bench: Bench) -> float:
    chosen = best(outcomes, bench.recipe.budget)
    return float("inf") if chosen is None else relative_cost(chosen, outcomes[0])


def _enough(best_costs: Sequence[float], bench: Bench) -> bool:
    """Whether the promise is kept, and the last batches made its keeping cheaper by next to nothing."""
    settings = bench.recipe.fit
    if len(best_costs) <= settings.patience or best_costs[-1] == float("inf"):
        return False
    return best_costs[-1] > (1 - settings.worthwhile) * best_costs[-1 - settings.patience]
