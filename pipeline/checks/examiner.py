"""The process that touches a stranger's file: parses it, infers its shapes, and opens it in its runtime.

    python examiner.py ROOT MODEL FOLDER

It writes what it found into FOLDER, each part as soon as it is known, so that a crash in the runtime costs nothing that
was known before: `refused.json` (no model at all), or `graph.json`, then `sized.json` (every shape, for a batch of one),
then `loaded.json` (whether the runtime takes it) and, of an ONNX file, `fused.json` (what ONNX Runtime makes of it).
`examine` starts it under limits and reads the answers. ROOT is the folder of the packages, appended to the path.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any


def main(root: str, model: str, folder: str) -> None:
    """Examine one file."""
    sys.path.append(root)
    from pipeline.errors import ModelError  # noqa: PLC0415  # found once the path is set

    try:
        _examine(Path(model), Path(folder))
    except ModelError as error:
        _write(Path(folder) / "refused.json", {"error": str(error)})


def _examine(model: Path, out: Path) -> None:
    from pipeline.checks.external import troubles  # noqa: PLC0415  # found once the path is set
    from pipeline.checks.graph import read_graph, typed  # noqa: PLC0415  # as above
    from pipeline.checks.view import to_json  # noqa: PLC0415  # as above

    graph = read_graph(model)
    (out / "graph.json").write_text(to_json(graph))
    if graph.format == "onnx":
        from pipeline.checks.shapes import infer  # noqa: PLC0415  # a TFLite file needs no onnx

        try:
            types = infer(model.read_bytes())
        except Exception as error:  # noqa: BLE001  # onnx's C++ raises classes of its own; without shapes there are fewer facts
            types = {}
            sys.stderr.write(f"{error}\n")
        (out / "sized.json").write_text(to_json(typed(graph, types)))
    if not troubles(graph):
        _load(model, out, onnx=graph.format == "onnx")


def _load(model: Path, out: Path, *, onnx: bool) -> None:
    runner = _runner()
    fused = out / "fused.onnx"
    try:
        opened = runner.OnnxRuntime(str(model), 1, str(fused)) if onnx else runner.LiteRt(str(model), 1)
    except Exception as error:  # noqa: BLE001  # whatever a runtime raises is its answer
        _write(out / "loaded.json", {"ok": False, "error": _said(error)})
        return
    _write(out / "loaded.json", {"ok": True, "runtime": opened.name, "version": opened.version})
    if onnx:
        from pipeline.checks.graph import read_graph  # noqa: PLC0415  # found once the path is set
        from pipeline.checks.view import to_json  # noqa: PLC0415  # as above

        (out / "fused.json").write_text(to_json(read_graph(fused)))


def _said(error: Exception) -> str:
    """Return a runtime's message in one line, without the places in its own source."""
    text = re.sub(r"\S*/onnxruntime_src/\S*|\[ONNXRuntimeError\] : \d+ : \w+ :", "", str(error))
    return " ".join(text.split())[:1000]


def _runner() -> Any:
    """Return `devices/runner.py` by its file: the package around it reads target profiles, which takes longer than this."""
    spec = importlib.util.spec_from_file_location("runner", Path(__file__).parents[2] / "devices" / "runner.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(path: Path, record: dict[str, object]) -> None:
    path.write_text(json.dumps(record))


if __name__ == "__main__":
    main(*sys.argv[1:])
