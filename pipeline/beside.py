"""Beside: the files that a task sends along with the exported ones, such as a tokenizer or a front end: checked, in memory."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import TaskError

OURS = ("model", "report", "manifest", "index", "bom", "recipe", "environment", "readme")
"""What a run, or the archive of one, names its own files, before the first dot."""

NAME = re.compile(rf"(?!({'|'.join(OURS)})\.)[A-Za-z0-9_][A-Za-z0-9_.-]{{0,99}}", re.IGNORECASE)
MAX_MIB = 64
"""No more than one would put beside a small model; all of it is held in memory."""


def contents_of(found: Any, task: str) -> Mapping[str, bytes]:
    """Return what a task's `files()` gave, by name; TaskError where it can't lie in the folder of a run's results."""
    if not isinstance(found, Mapping) or not all(isinstance(each, str | bytes) for each in found.values()):
        raise TaskError(f"task {task!r}: files() must return a dict of texts or bytes by name")
    for name in found:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise TaskError(
                f"task {task!r}: files() names {name!r:.60}; write it as in 'tokenizer.json': letters, digits, '.', '-' and "
                f"'_', no folder, and no {'.*, '.join(OURS)}.*, which a run and its archive write themselves"
            )
    if len({name.lower() for name in found}) < len(found):
        raise TaskError(
            f"task {task!r}: files() gives names that differ in letters' case alone, and many systems hold but one of them; rename one"
        )
    contents = {name: each.encode() if isinstance(each, str) else each for name, each in found.items()}
    mebibytes = sum(map(len, contents.values())) / 2**20
    if mebibytes > MAX_MIB:
        raise TaskError(f"task {task!r}: files() gives {mebibytes:.0f} MiB; give at most {MAX_MIB} MiB")
    return contents
