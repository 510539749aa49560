"""Provenance: where a network's data and teachers come from and under which licences, as far as its task says so.

    provenance = {"data": "MNIST, 5,000 digits", "data_licence": "CC-BY-SA-3.0", "teacher_licence": "Apache-2.0", "licence": "MIT"}

`licence` is the compressed network's own. What isn't there is told as "not stated", never guessed.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import TaskError, did_you_mean

KEYS = ("licence", "data", "data_licence", "teacher", "teacher_licence")
NOT_STATED = "not stated"
MAX_CHARACTERS = 500


def stated(raw: Any) -> Mapping[str, str]:
    """Return what a user's task says in `provenance`; TaskError where that isn't lines of text under KEYS."""
    found, task = getattr(raw, "provenance", {}), str(raw.name)
    if not isinstance(found, Mapping):
        raise TaskError(f"task {task!r}: provenance = {found!r:.60}; give a dict with any of {', '.join(KEYS)}")
    for key, value in found.items():
        if key not in KEYS:
            raise TaskError(
                f"task {task!r}: provenance has no {key!r:.60}; known: {', '.join(KEYS)}{did_you_mean(str(key), KEYS)}"
            )
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_CHARACTERS:
            raise TaskError(
                f"task {task!r}: provenance[{key!r}] = {value!r:.60}; give one line of at most {MAX_CHARACTERS} characters"
            )
    return dict(found)
