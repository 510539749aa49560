"""What trials share: a search over digits, each trial made twice, in the search's store and as a run of its own; the two take turns.

One epoch a stage, so that training, which is what trials share most, counts for as little as it can. `python tests/benchmarks/shared_prefixes.py [TRIALS]`.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.api import Silent, load, plans_of
from pipeline.fit.search import search
from pipeline.fit.space import Settings, space_of
from pipeline.fit.trial import Bench, Maker, Outcome
from pipeline.stage import discover

SETTINGS = [
    *(f"{stage}.epochs=1" for stage in ("teach", "distill", "prune", "quantize")),
    *("fit.patience=1000", "budget.max_drop=0.5", "audit.on_weak=skip"),
]


def main(trials: int) -> None:
    """Print both times and their ratio."""
    recipe, task = load(Path("digits"), settings=[*SETTINGS, f"fit.trials={trials}"], targets=["corstone-300"])
    targets = tuple(target for target, _ in plans_of(recipe, task))
    shared: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        maker = Maker(Bench(recipe, targets, {"corstone-300": "vela"}, Path(folder) / "store"), task, Silent())

        def make(jobs: Sequence[tuple[int, Settings]]) -> Iterator[Outcome]:
            for number, settings in jobs:
                own = replace(maker, bench=replace(maker.bench, store=Path(folder) / f"alone-{number}"))
                shared.append(seconds(maker, number, settings))
                alone.append(seconds(own, number, settings))
                yield maker.make(number, settings)

        for outcome in search(recipe, space_of(recipe, discover()), make):
            print(f"trial {outcome.number}: {shared[-1]:.1f} s in the search, {alone[-1]:.1f} s alone", file=sys.stderr)
    print(
        f"a search of {len(shared)} trials on digits, one epoch a stage: {sum(shared):.0f} s; the same as runs of their own: "
        f"{sum(alone):.0f} s, the search {sum(shared) / sum(alone):.2f} of it"
    )


def seconds(maker: Maker, number: int, settings: Settings) -> float:
    """Return what a trial takes."""
    start = time.perf_counter()
    maker.make(number, settings)
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
