"""ptq_onnx: a control. ONNX Runtime's own static quantisation of a float ONNX file, calibrated on the training split.

Settings as its documentation recommends for convolutional networks on CPUs: QDQ form, unsigned 8-bit activations, signed
8-bit weights with one scale a channel, ranges by minimum and maximum.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifact import Artifact, Facts
from pipeline.batches import split_batches
from pipeline.checks.answers import open_file
from pipeline.quiet import quiet
from pipeline.stage import Context, Progress, Stage, StageConfig


class PtqConfig(StageConfig):
    """`calibration_samples`: how many of the training split set the ranges, from its start."""

    calibration_samples: int = 300


class _Reader:
    """Feeds one sample at a time, as ONNX Runtime's calibration asks for."""

    def __init__(self, samples: Iterator[dict[str, np.ndarray]]) -> None:
        self.samples = samples

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next sample's inputs by name, or None after the last."""
        return next(self.samples, None)


def run(inputs: Mapping[str, Artifact], config: PtqConfig, context: Context) -> Facts:
    """Quantise `model` (an ONNX file) and write `model.onnx`."""
    source = inputs["model"].file("model.onnx")
    prepared = context.scratch / "prepared.onnx"
    samples = calibration_samples(source, context, config.calibration_samples)
    with quiet():
        _prepare(source, prepared)
        _quantise(prepared, context.out / "model.onnx", samples)
    context.progress(Progress(done=1, total=1, says={}))
    return dict(inputs["model"].facts)


def calibration_samples(model: Path, context: Context, count: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield samples of the training split, one at a time, as the file takes them: arrays [1, ...] by the input's name."""
    ports = open_file(model).inputs
    for batch in split_batches(context.task, "train", batch_size=1):
        if int(batch.index[0]) >= count:
            return
        yield {port.name: port.takes(value.numpy()) for port, value in zip(ports, batch.inputs, strict=True)}


def _prepare(source: Path, prepared: Path) -> None:
    # Loaded here: the quantiser's package costs half a second that a cached run needn't pay.
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    quant_pre_process(source, prepared, skip_symbolic_shape=True)


def _quantise(prepared: Path, target: Path, samples: Iterator[dict[str, np.ndarray]]) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415 - as above

    settings: dict[str, Any] = {"quant_format": QuantFormat.QDQ, "per_channel": True}
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(prepared, target.with_suffix(".draft"), _Reader(samples), **settings, **types)
    shutil.move(target.with_suffix(".draft"), target)


STAGE = Stage(
    name="ptq_onnx",
    version=1,
    config=PtqConfig,
    takes=("model",),
    gives="onnx",
    reads=("data.train", "collate"),
    libraries=("onnx", "onnxruntime"),
    run=run,
)
