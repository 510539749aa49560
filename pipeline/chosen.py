"""Chosen: a task whose student is one that the stage `choose` found; all else is the user's own."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.networks.families import Sizes, build
from pipeline.networks.ladders import Rung
from pipeline.task import LoadedTask


class Chosen:
    """The user's task behind another student."""

    def __init__(self, raw: Any, rung: Rung, sizes: Sizes) -> None:
        self.raw = raw
        self.student = partial(build, rung, sizes)

    def __getattr__(self, name: str) -> Any:
        """Return what the user's task has; called only for what isn't here."""
        return getattr(self.__dict__["raw"], name)


def with_chosen(task: LoadedTask, choice: Mapping[str, Any]) -> LoadedTask:
    """Return the task with the student that a choice's facts name."""
    rung = Rung(choice["family"], choice["width"], choice["depth"])
    known = {part: found for part, found in task.cache.items() if part not in ("student", "rehearsed")}
    return replace(task, raw=Chosen(task.raw, rung, Sizes(**choice["sizes"])), cache=known, choice=dict(choice))
