"""Build what TensorFlow's own converter makes of small Keras networks: float, dynamic range, float16, int8, int16x8, Flex.

    python3.11 -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu==2.21.0
    /tmp/keras/bin/python tests/evidence/foreign_models/build_keras.py FOLDER

TensorFlow is no dependency of edgepress. The files are not kept, what `check` said of them is (results.json).
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> None:
    """Write each form of the network."""
    tf = import_module("tensorflow")
    folder.mkdir(parents=True, exist_ok=True)
    tf.keras.utils.set_random_seed(0)
    network = convolutional(tf.keras)
    for name, settings in forms(tf).items():
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        for where, value in settings.items():
            owner = converter.target_spec if hasattr(converter.target_spec, where) else converter
            setattr(owner, where, value)
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    (folder / "flex.tflite").write_bytes(with_flex(tf))


def convolutional(keras: Any) -> Any:
    """Return a small classifier with the layers that everybody uses."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, 3, 2, activation="relu"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(32, 3, padding="same", activation="relu6"),
            layers.Dropout(0.3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def forms(tf: Any) -> dict[str, dict[str, Any]]:
    """Return the converter's settings for each form."""
    sets = tf.lite.OpsSet
    smaller = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    calibrated = {**smaller, "representative_dataset": samples}
    int8 = {
        "supported_ops": [sets.TFLITE_BUILTINS_INT8],
        "inference_input_type": tf.int8,
        "inference_output_type": tf.int8,
    }
    wide = [sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    return {
        "float": {},
        "dynamic_range": smaller,
        "float16": {**smaller, "supported_types": [tf.float16]},
        "int8_float_edges": calibrated,
        "int8": {**calibrated, **int8},
        "int16x8": {**calibrated, "supported_ops": wide},
    }


def samples() -> Iterator[list[Any]]:
    """Give pictures to calibrate with."""
    for picture in np.random.default_rng(0).random((20, 32, 32, 3), np.float32):
        yield [picture[None]]


def with_flex(tf: Any) -> bytes:
    """Return a file with an operator that only TensorFlow has."""

    class Determinant(tf.Module):  # type: ignore[misc]  # a class of a package that isn't installed
        @tf.function(input_signature=[tf.TensorSpec([8, 8], tf.float32)])  # type: ignore[untyped-decorator]  # as above
        def call(self, x: Any) -> Any:
            return tf.linalg.det(x)

    module = Determinant()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    content: bytes = converter.convert()
    return content


if __name__ == "__main__":
    main(Path(sys.argv[1]))
