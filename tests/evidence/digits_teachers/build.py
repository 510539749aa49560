"""Build the two teachers that come as files with the task digits: a MobileNet as ONNX, a convolutional network of Keras as TFLite.

Both are trained on the task's own training split and judged on its validation split alone.

    python -m tests.evidence.digits_teachers.build      # two and a half minutes; needs the extra tensorflow; writes over the files
"""

import json
import shutil
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.batches import predict
from pipeline.file_networks import file_network
from pipeline.networks.mobilenet import mobilenet
from pipeline.stages import export_onnx, file_onnx, file_tflite, teach
from pipeline.task import LoadedTask
from pipeline.tasks import digits
from pipeline.teacher import Teacher
from tests.small_stages import make

EPOCHS, SHIFT, TURN = 30, 2 / 28, 10 / 360
"""Of Keras; its layers want shifts as a share of the picture, turns as a share of a circle."""


class MobileNetTeaches(digits.Digits):
    """The digits, with the one network that is trained here for a file."""

    def teachers(self) -> dict[str, Teacher]:
        """Return a MobileNet twice as wide as the small one."""
        return {"mobilenet": Teacher(lambda: mobilenet(expansion=6, head=256))}


def main() -> None:
    """Write both files, and print what they score on the validation split."""
    digits.TEACHERS.mkdir(exist_ok=True)
    task = LoadedTask(raw=MobileNetTeaches(), root=Path(digits.__file__).parent)
    with tempfile.TemporaryDirectory() as work:
        trained = make(teach.STAGE, task, Path(work) / "teach", teacher="mobilenet", epochs=12)
        exported = make(export_onnx.STAGE, task, Path(work) / "onnx", {"model": trained})
        shutil.copy(exported.file("model.onnx"), digits.TEACHERS / "mobilenet.onnx")
    (digits.TEACHERS / "convolutional.tflite").write_bytes(keras_network(task))
    print(json.dumps(scores()))


def keras_network(task: LoadedTask) -> bytes:
    """Train a plain convolutional network in Keras; return it as a float TFLite file, pictures [1, 28, 28, 1] to probabilities."""
    tf = import_module("tensorflow")
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    varied = tf.keras.Sequential([layers.RandomTranslation(SHIFT, SHIFT), layers.RandomRotation(TURN), network])
    pictures, labels = task.splits.train.pictures, task.splits.train.labels  # type: ignore[attr-defined]
    rate = tf.keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * len(labels) // 64)
    varied.compile(tf.keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    varied.fit(np.moveaxis(pictures, 1, -1), labels, batch_size=64, epochs=EPOCHS, verbose=0)
    content: bytes = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    return content


def scores() -> dict[str, float]:
    """Return what each file scores on the validation split."""
    task = LoadedTask(raw=digits.three_teachers, root=Path(digits.__file__).parent)
    found: dict[str, float] = {}
    for name, stage in (("mobilenet", file_onnx.STAGE), ("convolutional", file_tflite.STAGE)):
        with tempfile.TemporaryDirectory() as work:
            network: Any = file_network(make(stage, task, Path(work), teacher=name))
            found[name] = task.score(predict(network, task, "validation"), task.targets("validation"))
    return found


if __name__ == "__main__":
    main()
