"""Teachers of every format in one recipe: torch, ONNX, TFLite, Keras; each built here by another tool, and trained."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline import compress
from pipeline.api import load
from pipeline.artifact import Artifact
from pipeline.batches import predict
from pipeline.errors import ModelError, TaskError
from pipeline.file_networks import file_network
from pipeline.report.model import Report
from pipeline.stages import file_keras, file_onnx, file_tflite, outputs
from pipeline.task import LoadedTask
from pipeline.teacher import Teacher
from tests.small_stages import make
from tests.small_task import Bars, Net, bars

CLASSES = 4
KERAS = """
import sys
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
data = np.load(folder + "/data.npz")
x = np.moveaxis(data["x"], 1, -1)
tf.keras.utils.set_random_seed(0)
model = tf.keras.Sequential([
    tf.keras.layers.Input((8, 8, 1)), tf.keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
    tf.keras.layers.Flatten(), tf.keras.layers.Dense(4, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, data["y"], epochs=20, verbose=0)
model.save(folder + "/teacher.keras")
model.export(folder + "/saved", verbose=False)
open(folder + "/teacher.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
np.savez(folder + "/said.npz", said=model.predict(x, verbose=0), parameters=model.count_params())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher.keras, saved/, teacher.tflite (all one network) and teacher.onnx."""
    made = tmp_path_factory.mktemp("teachers")
    x, y = training_data()
    np.savez(made / "data.npz", x=x, y=y)
    subprocess.run([sys.executable, "-c", KERAS, str(made)], check=True, capture_output=True)
    write_onnx(made / "teacher.onnx", x, y)
    return made


def training_data() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    split = Bars().data().train
    samples = [split[index] for index in range(len(split))]
    return np.stack([sample[0] for sample in samples]), np.array([sample[1] for sample in samples])


def write_onnx(path: Path, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
    """Write least squares on the pixels as an ONNX file of two outputs, features and logits; the batch is free."""
    flat = np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1), np.float32)], 1)
    weights = np.linalg.lstsq(flat, 8 * np.eye(CLASSES, dtype=np.float32)[y], rcond=None)[0].astype(np.float32)
    constants = [numpy_helper.from_array(weights[:-1], "w"), numpy_helper.from_array(weights[-1], "b")]
    nodes = [
        helper.make_node("Flatten", ["picture"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"]),
    ]
    ends: list[tuple[str, list[str | int]]] = [
        ("picture", ["n", 1, 8, 8]),
        ("features", ["n", 64]),
        ("logits", ["n", CLASSES]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends]
    graph = helper.make_graph(nodes, "teacher", values[:1], values[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))


class Mixed(Bars):
    """The small task with a teacher of each format."""

    name = "mixed"
    labels = ("a", "b", "c", "d")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def teachers(self) -> dict[str, Teacher]:
        return {
            "torch": Teacher(lambda: Net(16)),
            "onnx": Teacher(file=self.folder / "teacher.onnx", outputs=("logits",), answers="logits"),
            "tflite": Teacher(file=self.folder / "teacher.tflite", answers="probabilities"),
            "keras": Teacher(file=self.folder / "teacher.keras", answers="probabilities"),
        }


def loaded(raw: Any) -> LoadedTask:
    return LoadedTask(raw=raw, root=Path(__file__).parent)


def with_teacher(teacher: Teacher) -> LoadedTask:
    class Own(Mixed):
        def teachers(self) -> dict[str, Teacher]:
            return {"own": teacher}

    return loaded(Own(Path()))


@pytest.fixture(scope="module")
def report(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What a run with all four says."""
    made = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRESS_STORE", str(made / "store"))
        short: Mapping[str, Any] = {"epochs": 4, "batch_size": 16}
        settings = {
            "stages": ["teach", "distill", "quantize", "export"],
            "measure": False,
            "teach": short,
            "audit": {"on_weak": "warn", "probe_steps": 20},
            "distill": {**short, "weighting": "agreement"},
            "quantize": {"epochs": 1, "batch_size": 16},
        }
        return compress(Mixed(folder), ["raspberry-pi-4"], made / "out", settings)["raspberry-pi-4"]


def test_four_formats_teach_one_student_through_to_both_files(report: Report) -> None:
    rows = {row.stage: row for row in report.rows}

    assert report.fidelity is not None
    assert report.fidelity.passed, report.fidelity.why_failed
    assert {"teacher torch", "teacher onnx", "teacher tflite", "teacher keras", "int8 onnx", "int8 tflite"} <= set(rows)
    assert all(rows[f"teacher {name}"].score.value > 0.8 for name in ("torch", "onnx", "tflite", "keras"))
    assert rows["int8 tflite"].score.value > 0.8


def test_a_file_s_size_is_told_and_what_nobody_knows_is_left_out(report: Report) -> None:
    rows = {row.stage: row for row in report.rows}

    assert rows["teacher onnx"].parameters == 64 * 4 + 4
    assert rows["teacher keras"].parameters == rows["teacher tflite"].parameters == 8 * 9 + 8 + 8 * 64 * 4 + 4
    assert rows["teacher keras"].macs is None
    json.dumps(report.to_json())


@pytest.mark.parametrize("name", ["teacher.keras", "saved", "teacher.tflite"])
def test_one_network_says_the_same_in_each_of_its_files(folder: Path, tmp_path: Path, name: str) -> None:
    teacher = Teacher(file=folder / name)
    stage = file_tflite.STAGE if name.endswith("tflite") else file_keras.STAGE
    said = predict(file_network(make(stage, with_teacher(teacher), tmp_path, teacher="own")), bars(), "train")

    assert isinstance(said, np.ndarray)
    assert np.abs(said - np.load(folder / "said.npz")["said"]).max() < 1e-5


def recorded(task: LoadedTask, artifact: Artifact, folder: Path, **settings: Any) -> NDArray[np.float32]:
    made = make(outputs.STAGE, task, folder, {"model": artifact}, split="train", **settings)
    return np.asarray(np.load(made.file("output_0.npy")))


def test_a_teacher_sees_the_data_as_its_own_function_turns_them(folder: Path, tmp_path: Path) -> None:
    plain = with_teacher(Teacher(file=folder / "teacher.onnx"))
    turned = with_teacher(Teacher(file=folder / "teacher.onnx", inputs=lambda picture: -2 * picture))
    artifact = make(file_onnx.STAGE, plain, tmp_path / "file", teacher="own")
    chosen = {"outputs": ("features",)}
    as_it_is = recorded(plain, artifact, tmp_path / "a", **chosen)
    own = recorded(turned, artifact, tmp_path / "b", teacher="own", **chosen)

    assert np.allclose(own, -2 * as_it_is)
    assert plain.fingerprint("inputs:own") != turned.fingerprint("inputs:own")


def test_a_file_of_another_task_says_what_it_wants_and_what_it_got(folder: Path, tmp_path: Path) -> None:
    task = with_teacher(Teacher(file=folder / "teacher.keras", inputs=lambda picture: picture[:, :, :4]))
    artifact = make(file_keras.STAGE, task, tmp_path / "file", teacher="own")

    with pytest.raises(ModelError, match=r"of the file is \[N, 8, 8, 1\], the task's samples are \[1, 4, 8\]"):
        recorded(task, artifact, tmp_path / "a", teacher="own")


@pytest.mark.parametrize("name", ["broken.keras", "broken.onnx", "broken.tflite"])
def test_a_broken_file_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of the kind")
    stage = {"keras": file_keras.STAGE, "onnx": file_onnx.STAGE, "tflite": file_tflite.STAGE}[name.rpartition(".")[2]]

    with pytest.raises(ModelError) as told:
        make(stage, with_teacher(Teacher(file=tmp_path / name)), tmp_path / "made", teacher="own")
    assert "\n" not in str(told.value)


def test_code_in_a_keras_file_is_refused(tmp_path: Path) -> None:
    script = (
        "import sys, tensorflow as tf\n"
        "model = tf.keras.Sequential([tf.keras.layers.Input((8, 8, 1)), tf.keras.layers.Lambda(lambda x: x * 2)])\n"
        "model.save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "code.keras")], check=True, capture_output=True)

    with pytest.raises(ModelError, match="without Lambda layers, which safe mode refuses"):
        make(file_keras.STAGE, with_teacher(Teacher(file=tmp_path / "code.keras")), tmp_path / "a", teacher="own")


def test_an_assistant_is_taught_before_it_teaches_and_its_teacher_is_silent(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'schema = 1\nname = "chain"\ntask = "task.py:task"\ntargets = ["raspberry-pi-4"]\nstages = ["teach", "distill"]\n'
    )
    (tmp_path / "task.py").write_text(
        "from tests.small_task import Bars, Net\nfrom pipeline import Teacher\n"
        "class Chain(Bars):\n    def teachers(self):\n"
        "        return {'mid': Teacher(lambda: Net(12), taught_by=('big',)), 'big': Teacher(lambda: Net(24))}\n"
        "task = Chain()\n"
    )
    from pipeline.api import plans_of

    [(_, plan)] = plans_of(*load(tmp_path / "recipe.toml", settings=[], targets=[]))
    [(_, told)] = plans_of(*load(tmp_path / "recipe.toml", settings=['distill.teachers=["big"]'], targets=[]))
    order = [step.name for step in plan.steps]

    assert order.index("teach:big") < order.index("teach:mid")
    assert plan.step("teach:mid").inputs["teacher_outputs:big"].startswith("teach:big.train")
    assert {name for name in plan.step("distill").inputs if "outputs" in name} == {"teacher_outputs:mid"}
    assert {name for name in told.step("distill").inputs if "outputs" in name} == {"teacher_outputs:big"}


def test_answers_that_are_no_probabilities_are_told(folder: Path, tmp_path: Path) -> None:
    task = with_teacher(Teacher(file=folder / "teacher.onnx"))
    artifact = make(file_onnx.STAGE, task, tmp_path / "file", teacher="own")

    with pytest.raises(TaskError, match="answers = 'probabilities', but numbers from"):
        recorded(task, artifact, tmp_path / "a", outputs=("logits",), answers=("probabilities",))
