"""Turns on a board: what a process reported, and what held the board back meanwhile."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from devices import Measurement
from devices.circumstances import Circumstances, held_back, told
from devices.turns import Turn, why_invalid

HELD_BACK = 10.0
"""Weighs more than any share of time: of two disturbed turns, the one at full clock is kept."""


@dataclass(frozen=True)
class BoardTurn:
    """What one process reported, and what held the board back meanwhile."""

    turn: Turn
    before: Circumstances
    after: Circumstances

    @property
    def disturbance(self) -> str:
        """What disturbed it, in words; empty when it was left alone."""
        return held_back(self.before, self.after) or self.turn.disturbance

    def how_disturbed(self) -> float:
        """Return a figure by which two turns are compared: the larger, the worse."""
        return self.turn.how_disturbed() + (HELD_BACK if held_back(self.before, self.after) else 0.0)


def with_circumstances(measured: Measurement, turns: Sequence[BoardTurn], cores: Sequence[int]) -> Measurement:
    """Return a measurement that tells where it ran and in what circumstances; memory minds none of them."""
    invalid = _why_invalid(turns) if measured.unit == "us" else ""
    said = told([(taken.before, taken.after) for taken in turns])
    pinned = "" if not cores else f"on core{'s' if len(cores) > 1 else ''} {','.join(map(str, cores))}"
    how = "; ".join(part for part in (measured.how, pinned, said) if part)
    return replace(measured, valid=not invalid, why_invalid=invalid, how=how)


def _why_invalid(turns: Sequence[BoardTurn]) -> str:
    """Say why turns can't be trusted: what held the board back comes first, since a busy board may be another's doing."""
    held = [why for taken in turns if (why := held_back(taken.before, taken.after))]
    return f"{held[-1]}; it was so in {len(held)} of {len(turns)} processes" if held else why_invalid(turns)
