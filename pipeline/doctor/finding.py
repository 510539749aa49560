"""Finding: one line of what `edgepress doctor` tells."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Judged = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it; `wrong` is what something needed stumbles over."""

    about: str
    found: str
    verdict: Judged = "ok"
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON takes them."""
        return asdict(self)
