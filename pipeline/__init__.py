"""edgepress: from a trained PyTorch network to int8 ONNX and TFLite files that are proven equal.

The public names, each loaded when it is first used, so that a light command never pays for torch.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import compress
    from pipeline.artifact import Artifact
    from pipeline.errors import EdgepressError
    from pipeline.recipe import Recipe
    from pipeline.report.model import Report
    from pipeline.task import Metric, Splits, Task
    from pipeline.teacher import Teacher

__all__ = ["Artifact", "EdgepressError", "Metric", "Recipe", "Report", "Splits", "Task", "Teacher", "compress"]

# Since 1.31 ONNX Runtime writes an identity into the home folder and sends events to its maker, unless this was set before it
# is imported (microsoft/onnxruntime, pull 27379). Nothing here tells anybody what is compressed.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "Artifact": "pipeline.artifact",
    "EdgepressError": "pipeline.errors",
    "Metric": "pipeline.task",
    "Recipe": "pipeline.recipe",
    "Report": "pipeline.report.model",
    "Splits": "pipeline.task",
    "Task": "pipeline.task",
    "Teacher": "pipeline.teacher",
    "compress": "pipeline.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
