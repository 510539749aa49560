"""Stage: one step that makes one artifact out of others, and nothing else.

`run(inputs, config, context)` gets named artifacts, a frozen Config and a context that brings the task, the seed, the
folder for its files (`out`), a folder that survives a crash (`scratch`) and a place to report progress. It reads nothing
else: no clock, environment, network, target, device or global seed.

A stage is a module in `pipeline/stages/` with one constant `STAGE`; `discover()` finds it by being there.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from pipeline.artifact import Artifact, Facts, Kind
from pipeline.task import LoadedTask


class StageConfig(BaseModel):
    """The settings of a stage: frozen, strict, every field with a default or poured in by `plan()`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    not_in_key: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how fast, not what: two machines that differ in them share results."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is: `done` of `total` steps, and what there is to say, e.g. `{"score": 0.97, "loss": 0.1}`.

    `samples` is how many it has seen so far, 0 where that says nothing, and `epoch` the record of the last epoch that is over.
    """

    done: int
    total: int
    says: Mapping[str, float]
    samples: int = 0
    epoch: Mapping[str, float] = field(default_factory=dict)


class ReportProgress(Protocol):
    """Where a stage says how far it is."""

    def __call__(self, progress: Progress) -> None:
        """Take one progress record; must not raise and must not change the result."""


@dataclass(frozen=True)
class Context:
    """All that a stage may use beside its inputs and its config."""

    task: LoadedTask
    seed: int
    out: Path
    scratch: Path
    progress: ReportProgress


@dataclass(frozen=True)
class Stage:
    """One kind of step.

    `takes` are names of inputs: a trailing "?" marks one that may be left out, a trailing "*" any number of them, named
    "teacher:NAME". `reads` names the parts of the task that go into the key (see `LoadedTask.fingerprint`), filled from the
    config where that says which: "data.{split}". `libraries` are distributions whose versions go into it. `version`
    rises whenever the same inputs would give another result.
    """

    name: str
    version: int
    config: type[StageConfig]
    takes: tuple[str, ...]
    gives: Kind
    reads: tuple[str, ...]
    libraries: tuple[str, ...]
    run: Callable[[Mapping[str, Artifact], Any, Context], Facts]


def discover() -> dict[str, Stage]:
    """Return the built-in stages by name: each module of `pipeline.stages` that has a `STAGE`."""
    package = importlib.import_module("pipeline.stages")
    modules = (
        importlib.import_module(f"pipeline.stages.{found.name}") for found in pkgutil.iter_modules(package.__path__)
    )
    stages = (vars(module)["STAGE"] for module in modules if "STAGE" in vars(module))
    return {stage.name: stage for stage in stages}
