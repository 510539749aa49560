"""Model files in the shape of a network: tensors in, tensors out, frozen, on the runtime that the format belongs to.

ONNX and TFLite run as `pipeline.checks.answers` runs them: quantised ones take and give floats here. Keras files and SavedModels
run on TensorFlow. Channels come first in a task and last in TensorFlow's world: inputs are turned where that makes them fit.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.artifact import Artifact
from pipeline.checks.answers import OpenFile, Port, open_file
from pipeline.errors import MissingExtraError, ModelError
from pipeline.quiet import quiet

SIGNATURE = "serving_default"
"""The signature of a SavedModel that is called."""


class FileNetwork(nn.Module):
    """A model file; `outputs` are its outputs' names."""

    def __init__(self, opened: OpenFile, *, parameters: int | None = None) -> None:
        super().__init__()
        self.opened = opened
        self.parameter_count = parameters

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs' names, in their order."""
        return tuple(port.name for port in self.opened.outputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs [N, ...] float32 for inputs [N, ...]."""
        answers = self.opened.answer([value.numpy() for value in inputs])
        return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in answers)


def file_network(model: Artifact) -> FileNetwork:
    """Return an artifact of kind onnx, tflite or keras as something to call."""
    if model.kind == "keras":
        return open_keras(_keras_path(model.path))
    return FileNetwork(open_file(model.file(f"model.{model.kind}")))


def _keras_path(folder: Path) -> Path:
    return next((folder / name for name in ("model.keras", "saved_model") if (folder / name).exists()), folder)


def open_keras(path: Path) -> FileNetwork:
    """Open a .keras file or a SavedModel's folder; ModelError when TensorFlow refuses it, MissingExtraError without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        with quiet():
            import tensorflow  # noqa: PLC0415, ICN001  # seven seconds, and an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"a Keras teacher needs TensorFlow ({error.name} isn't installed); pip install 'edgepress[tensorflow]'"
        ) from error
    try:
        with quiet():
            return _saved_model(path, tensorflow) if path.is_dir() else _keras_file(path, tensorflow)
    except ModelError:
        raise
    except Exception as error:  # Keras raises classes of its own, without a common root
        told = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the Keras teacher can't be read ({type(error).__name__}: {told}); save it with model.save('teacher.keras'), "
            "without Lambda layers, which safe mode refuses"
        ) from error


def _keras_file(path: Path, tensorflow: Any) -> FileNetwork:
    model = tensorflow.keras.models.load_model(path, compile=False, safe_mode=True)
    inputs = [Port(value.name, _sizes(value.shape), _dtype(value.dtype)) for value in model.inputs]
    # A Sequential model has no names for its outputs but those of its tensors.
    names = getattr(model, "output_names", [value.name for value in model.outputs])
    outputs = [Port(str(name), (0,), "float32") for name in names]

    def call(arrays: Sequence[NDArray[Any]]) -> list[Any]:
        given = [tensorflow.constant(array) for array in arrays]
        return list(tensorflow.nest.flatten(model(given if len(given) > 1 else given[0], training=False)))

    return FileNetwork(_opened(inputs, outputs, call), parameters=int(model.count_params()))


def _saved_model(path: Path, tensorflow: Any) -> FileNetwork:
    loaded = tensorflow.saved_model.load(str(path))
    if SIGNATURE not in loaded.signatures:
        raise ModelError(
            f"the SavedModel has no signature {SIGNATURE!r}, but {', '.join(loaded.signatures) or 'none'}; "
            "export it with model.export(folder)"
        )
    function = loaded.signatures[SIGNATURE]
    taken = function.structured_input_signature[1]
    inputs = [Port(name, _sizes(taken[name].shape), _dtype(taken[name].dtype.name)) for name in sorted(taken)]
    outputs = [Port(name, (0,), "float32") for name in sorted(function.structured_outputs)]

    def call(arrays: Sequence[NDArray[Any]]) -> list[Any]:
        given = {port.name: tensorflow.constant(array) for port, array in zip(inputs, arrays, strict=True)}
        said = function(**given)
        return [said[port.name] for port in outputs]

    network = FileNetwork(_opened(inputs, outputs, call))
    network.kept = loaded  # the function's variables live as long as what was loaded
    return network


def _opened(
    inputs: Sequence[Port], outputs: Sequence[Port], call: Callable[[Sequence[NDArray[Any]]], list[Any]]
) -> OpenFile:
    return OpenFile(tuple(inputs), tuple(outputs), lambda arrays: [np.asarray(value) for value in call(arrays)])


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(0 if size is None else int(size) for size in shape)


def _dtype(name: Any) -> str:
    return np.dtype(str(name)).name
