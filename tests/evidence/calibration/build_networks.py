"""Build the networks whose latencies were published, as TFLite: MobileNetV1, V2, V3 Large and Small at 224x224, random weights.

    python3.11 -m venv /tmp/keras && /tmp/keras/bin/pip install tensorflow-cpu==2.21.0
    OMP_NUM_THREADS=1 /tmp/keras/bin/python tests/evidence/calibration/build_networks.py FOLDER

The published figures are of random weights too. int8 is full integer quantisation with a scale a channel, calibrated on noise.
TensorFlow is no dependency of edgepress; the files are not kept, what was counted of them is (counts.json).
"""

import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 224
INT8 = ("mobilenet-v1-224", "mobilenet-v2-224")


def main(folder: Path) -> None:
    tf = import_module("tensorflow")
    constants = import_module("tensorflow.python.framework.convert_to_constants")
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)

    def noise() -> Iterator[list[Any]]:
        for _ in range(4):
            yield [random.standard_normal((1, SIDE, SIDE, 3)).astype(np.float32)]

    for name, make in networks(tf.keras.applications).items():
        tf.keras.utils.set_random_seed(0)
        network = make(weights=None, input_shape=(SIDE, SIDE, 3))
        call = tf.function(lambda x, network=network: network(x, training=False))
        frozen = constants.convert_variables_to_constants_v2(
            call.get_concrete_function(tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32))
        )
        (folder / f"{name}.float32.tflite").write_bytes(
            tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
        )
        if name in INT8:
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = noise
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
            (folder / f"{name}.int8.tflite").write_bytes(converter.convert())


def networks(applications: Any) -> dict[str, Any]:
    return {
        "mobilenet-v1-224": applications.MobileNet,
        "mobilenet-v2-224": applications.MobileNetV2,
        "mobilenet-v3-large-224": partial(applications.MobileNetV3Large, include_preprocessing=False),
        "mobilenet-v3-small-224": partial(applications.MobileNetV3Small, include_preprocessing=False),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
