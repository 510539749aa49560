"""What a search costs beside its trials: trials an hour by one worker and two, Ray around a trial that is made already, the table of costs.

`python tests/benchmarks/searching.py [TRIALS]`; bars told apart by a small net for the first two, the student of digits for the tables.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from pipeline import run as engine
from pipeline.api import load, plans_of
from pipeline.fit.space import Settings
from pipeline.fit.trial import Bench, make_anywhere
from pipeline.plan import Plan
from pipeline.store import Store
from pipeline.workers import Workers, workers
from tests.small_search import write

KEPT = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
TABLES = ("corstone-300", "raspberry-pi-4")


def main(trials: int) -> None:
    """Print every figure."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), max_drop=0.9, size_kib=9.0)
        rates = {}
        for count in (1, 2):
            with workers(count, "") as crew:
                rates[count], again = by(crew, bench(Path(folder), f"store-{count}"), trials)
            print(
                f"{count} worker{'s' * (count > 1)}: {rates[count]:.0f} trials an hour, {rates[count] / rates[1]:.2f} times one worker's; "
                f"a trial that is made already {again:.2f} s"
            )
        for target in TABLES:
            table(target, Path(folder) / "tables")


def bench(folder: Path, store: str) -> Bench:
    """Return what the trials share."""
    recipe, task = load(folder / "recipe.toml", settings=[], targets=[])
    targets = tuple(target for target, _ in plans_of(recipe, task))
    return Bench(recipe, targets, {"corstone-300": "vela"}, folder / store)


def by(crew: Workers, shared: Bench, trials: int) -> tuple[float, float]:
    """Return how many trials an hour are made after the first, which all others share steps with, and what one takes a second time."""
    jobs: list[tuple[Bench, int, Settings]] = [
        (shared, number, {"prune.keep_macs": kept}) for number, kept in enumerate(KEPT[: trials + 1])
    ]
    list(crew.each(make_anywhere, [jobs[0]] * crew.count))
    start = time.perf_counter()
    list(crew.each(make_anywhere, jobs[1:]))
    seconds = time.perf_counter() - start
    again = []
    for _ in range(5):
        start = time.perf_counter()
        list(crew.each(make_anywhere, jobs[:1]))
        again.append(time.perf_counter() - start)
    return trials * 3600 / seconds, statistics.median(again)


def table(target: str, store: Path) -> None:
    """Print what the table of costs takes, against an epoch of the student's training."""
    quantity = "cycles" if target == "corstone-300" else "instructions"
    asked = [f"prune.until={quantity} = 50%", "distill.epochs=1", "teach.epochs=1", "controls=false"]
    recipe, task = load(Path("digits"), settings=asked, targets=[target])
    [(_, whole)] = plans_of(recipe, task)
    steps = Plan(whole.leading_to(["distill", "prune.costs"]), (), "", ())
    made = engine.run(steps, task, Store(store), seed=0, name="bench", watch=lambda _step, _progress: None)
    seconds = {done.step.name: done.record.seconds for done in made}
    print(
        f"the table of costs of digits for {target}: {seconds['prune.costs']:.0f} s, "
        f"{seconds['prune.costs'] / seconds['distill']:.1f} times an epoch of the student ({seconds['distill']:.1f} s)"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
