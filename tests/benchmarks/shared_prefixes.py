"""What trials share: a search over digits, each trial made twice, in the search's store and as a run of its own; the two take turns.

One epoch a stage, so that training, which is what trials share most, counts for as little as it can; `--whole` takes the recipe's own epochs, an hour
for 20 trials. The processor's time is told beside the wall's: other work on the machine disturbs it less.

`python tests/benchmarks/shared_prefixes.py [--trials 20] [--whole]`
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pipeline.api import Silent, load, plans_of
from pipeline.fit.search import Searching
from pipeline.fit.space import Settings, space_of
from pipeline.fit.trial import Bench, Maker, Outcome
from pipeline.stage import discover

ONE_EPOCH = [f"{stage}.epochs=1" for stage in ("teach", "distill", "prune", "quantize")]
SETTINGS = ["fit.patience=1000", "budget.max_drop=0.5", "audit.on_weak=skip"]


class Taken(NamedTuple):
    """Seconds of a trial; the processor's are those of this process and of its children."""

    wall: float
    processor: float


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--whole", action="store_true")
    asked = parser.parse_args()
    settings = [*SETTINGS, f"fit.trials={asked.trials}", *([] if asked.whole else ONE_EPOCH)]
    recipe, task = load(Path("digits"), settings=settings, targets=["corstone-300"])
    targets = tuple(target for target, _ in plans_of(recipe, task))
    shared: list[Taken] = []
    alone: list[Taken] = []
    with tempfile.TemporaryDirectory() as folder:
        maker = Maker(Bench(recipe, targets, {"corstone-300": "vela"}, Path(folder) / "store"), task, Silent())

        def make(jobs: Sequence[tuple[int, Settings]]) -> Iterator[Outcome]:
            for number, settings in jobs:
                own = replace(maker, bench=replace(maker.bench, store=Path(folder) / f"alone-{number}"))
                shared.append(taken(maker, number, settings))
                alone.append(taken(own, number, settings))
                yield maker.make(number, settings)

        for outcome in Searching(recipe, space_of(recipe, discover()), make):
            print(
                f"trial {outcome.number}: {shared[-1].wall:.1f} s in the search, {alone[-1].wall:.1f} s alone",
                file=sys.stderr,
            )
    for clock in Taken._fields:
        together, apart = (sum(getattr(each, clock) for each in times) for times in (shared, alone))
        print(
            f"a search of {len(shared)} trials on digits, {'its own epochs' if asked.whole else 'one epoch a stage'}, {clock} time: "
            f"{together:.0f} s; the same as runs of their own: "
            f"{apart:.0f} s, the search {together / apart:.2f} of it"
        )


def taken(maker: Maker, number: int, settings: Settings) -> Taken:
    """Return what a trial takes."""
    start, used = time.perf_counter(), sum(os.times()[:4])
    maker.make(number, settings)
    return Taken(time.perf_counter() - start, sum(os.times()[:4]) - used)


if __name__ == "__main__":
    main()
