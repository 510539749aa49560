"""Which classes the network takes for one another, where its task has classes: counted on the test split."""

import numpy as np

from pipeline.recorded_outputs import Floats
from pipeline.report.made import Made
from pipeline.report.model import Confusion

MOST_CLASSES = 40
"""More make no picture; their most frequent mistakes are told all the same."""
MOST_WRONG = 10


def confusion(made: Made) -> Confusion | None:
    """Return the confusions of the run's last form; None for a task whose answers are no classes, or that nobody labelled."""
    row = made.final()
    answers, targets = made.answers(row), made.targets
    if isinstance(answers, tuple) or isinstance(targets, tuple) or not _classes(answers, targets):
        return None
    counts = np.zeros((answers.shape[1],) * 2, np.int64)
    np.add.at(counts, (targets.astype(np.int64), answers.argmax(1)), 1)
    named = len(made.task.labels) == len(counts)
    labels = made.task.labels if named else tuple(str(number) for number in range(len(counts)))
    return Confusion(
        form=row.title,
        labels=labels,
        counts=tuple(tuple(row) for row in counts.tolist()) if len(counts) <= MOST_CLASSES else (),
        wrong=tuple(_wrong(counts, labels)),
    )


def _classes(answers: Floats, targets: np.ndarray) -> bool:
    """Tell whether answers [N, K] are scores of classes and targets [N] name one of them each."""
    fit = answers.ndim == 2 and targets.ndim == 1 and answers.shape[1] > 1
    if not fit or not np.issubdtype(targets.dtype, np.integer):
        return False
    return bool(targets.min() >= 0 and targets.max() < answers.shape[1])


def _wrong(counts: np.ndarray, labels: tuple[str, ...]) -> list[tuple[str, str, int]]:
    off = counts * ~np.eye(len(counts), dtype=bool)
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_WRONG]
    places = zip(*np.unravel_index(order, off.shape), strict=True)
    return [(labels[true], labels[found], int(off[true, found])) for true, found in places if off[true, found]]
