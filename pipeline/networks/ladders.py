"""The built-in families as ladders of width and depth, by name: "dscnn-32-4". Nothing here imports torch; `families` builds them.

| family | for | width | depth |
|---|---|---|---|
| dscnn | pictures and spectrograms | channels | separable blocks |
| mobilenet | pictures | expansion of the blocks | always five blocks |
| resnet | pictures | channels of the first third; the others have twice and four times as many | blocks in each third |
| transformer | texts: ids and mask | width, in heads of 16 numbers | blocks |
"""

from dataclasses import asdict, dataclass

LADDERS: dict[str, tuple[tuple[int, int], ...]] = {
    "dscnn": ((16, 2), (16, 4), (24, 4), (32, 4), (48, 4), (64, 4), (96, 4), (128, 4)),
    "mobilenet": ((1, 0), (2, 0), (3, 0), (4, 0), (6, 0), (8, 0)),
    "resnet": ((4, 1), (8, 1), (12, 1), (16, 1), (24, 1), (16, 3), (24, 3)),
    "transformer": ((16, 1), (32, 1), (32, 2), (48, 2), (64, 2), (96, 2), (128, 3)),
}
"""(width, depth) of each rung, each dearer than the one before."""
HEAD_WIDTH = 16
WIDEST, DEEPEST = 1024, 64


@dataclass(frozen=True)
class Rung:
    """One network of a family."""

    family: str
    width: int
    depth: int

    def __str__(self) -> str:
        """Say it as a person would."""
        return f"{self.family} of width {self.width}" + (f" and depth {self.depth}" if self.depth else "")

    def facts(self) -> dict[str, str | int]:
        """Return it as a stage's facts."""
        return asdict(self)


def read_rung(text: str) -> Rung:
    """Return the network of "dscnn-32-4", family, width and depth; ValueError with what is allowed where it is none."""
    family, _, size = text.partition("-")
    width, _, depth = size.partition("-")
    if family not in LADDERS or not width.isdigit() or not depth.isdigit():
        known = ", ".join(f"{name}-{rungs[0][0]}-{rungs[0][1]}" for name, rungs in LADDERS.items())
        raise ValueError(f"{text!r:.40} is no student; write family-width-depth, as in {known}")
    rung = Rung(family, int(width), int(depth))
    if not 1 <= rung.width <= WIDEST or rung.depth > DEEPEST or (family == "transformer" and rung.width % HEAD_WIDTH):
        raise ValueError(
            f"{text!r:.40}: width is 1 to {WIDEST}, a transformer's a multiple of {HEAD_WIDTH}, depth at most {DEEPEST}"
        )
    if (rung.depth == 0) != (family == "mobilenet"):
        raise ValueError(
            f"{text!r:.40}: depth is 0 for a mobilenet, whose blocks are five, and at least 1 for any other"
        )
    return rung


def neighbours(rung: Rung) -> list[str]:
    """Return the next narrower and wider networks of a family's ladder, the nearest first, as `read_rung` takes them."""
    ladder = [Rung(rung.family, *each) for each in LADDERS[rung.family]]
    nearest = min(
        range(len(ladder)),
        key=lambda place: abs(ladder[place].width - rung.width) + abs(ladder[place].depth - rung.depth),
    )
    places = [nearest - 1, nearest + 1, nearest - 2]
    return [
        f"{each.family}-{each.width}-{each.depth}"
        for place in places
        if 0 <= place < len(ladder)
        for each in [ladder[place]]
    ]
