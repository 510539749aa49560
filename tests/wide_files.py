"""A TFLite file that is mostly convolutions, of any width: what makes a difference when instructions are counted."""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tests.small_files import TfliteFile

SIDE = 16
SCALES = (0.02, -1)


def write_wide_tflite(path: Path, *, width: int, zero_share: float = 0.0) -> Path:
    """Write two int8 convolutions 3x3 on 16x16, `width` to `width` channels; a share of the weights, picked at random, is 0."""
    random = np.random.default_rng(0)
    file = TfliteFile()
    before = first = file.tensor("x", [1, SIDE, SIDE, width], "INT8", (*SCALES, 0))
    for name in ("one", "two"):
        stored = random.integers(1, 128, (width, 3, 3, width)).astype(np.int8)
        stored[random.random(stored.shape) < zero_share] = 0
        scales = np.full(width, 0.001, np.float32)
        kernel = file.tensor(f"{name}.weight", list(stored.shape), "INT8", (scales, 0, 0), stored)
        bias_scales = scales * np.float32(SCALES[0])
        bias = file.tensor(f"{name}.bias", [width], "INT32", (bias_scales, 0, 0), np.zeros(width, np.int32))
        after = file.tensor(name, [1, SIDE, SIDE, width], "INT8", (*SCALES, 0))
        file.operator("CONV_2D", [before, kernel, bias], [after], _same_size())
        before = after
    return file.save(path, [first], [before])


def _same_size() -> tuple[int, schema.Conv2DOptionsT]:
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    return schema.BuiltinOptions.Conv2DOptions, options
