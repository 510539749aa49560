"""The test samples that the network answers worst, where its task tells of mistakes: what each is, and what the forms say of it."""

from collections.abc import Iterator

from pipeline.plain import plain
from pipeline.plan import Row
from pipeline.report.made import Made
from pipeline.report.model import Mistake, Mistakes

MOST_TOLD = 10
MOST_CHARACTERS = 200
"""Of what a sample is, and of what is said of it."""


def mistakes(made: Made) -> Mistakes | None:
    """Return the worst answers of the run's last form; None for a task without `mistakes`."""
    rows = dict.fromkeys(_forms(made))
    told = [found for row in rows if (found := made.task.mistakes(made.answers(row), made.targets)) is not None]
    if not told:
        return None
    *_, last = told
    wrong = [number for number, (off, _, _) in enumerate(last) if off > 0]
    worst = sorted(wrong, key=lambda number: -last[number][0])[:MOST_TOLD]
    return Mistakes(
        forms=tuple(row.title for row in rows),
        wrong=len(wrong),
        worst=tuple(
            Mistake(
                sample=number,
                what=plain(last[number][1], most=MOST_CHARACTERS),
                said=tuple(plain(form[number][2], most=MOST_CHARACTERS) for form in told),
            )
            for number in worst
        ),
    )


def _forms(made: Made) -> Iterator[Row]:
    """Give the forms to set side by side: what the others must not fall below, unless it is the measure itself, the last float network, the last form."""
    if made.task.is_labelled("test"):
        yield made.reference
    own = [row for row in made.plan.rows if not row.control and not row.model.startswith("teach:")]
    yield from [row for row in own if made.done[row.model].artifact.kind == "network"][-1:]
    yield made.final()
