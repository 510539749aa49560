"""Examine a stranger's file in a bounded process and read what it found: the graph, its shapes, whether it loads.

One process does all of it, since starting Python and importing a runtime is what costs. When it dies, what it had
written stands: a file that crashes its runtime is still judged by its content.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices.sandbox import Finished, Limits, check_name, explain, run_python
from pipeline.checks.graph import Graph, typed
from pipeline.checks.view import from_json
from pipeline.errors import ModelError

LIMITS = Limits(wall_seconds=60, cpu_seconds=60, memory_mib=4096, file_mib=600, open_files=128, output_kib=64)
"""A 256 MiB model, the largest that is read, opens within these; the copy that ONNX Runtime writes is as large as it."""
EXAMINER = Path(__file__).parent / "examiner.py"
ROOT = Path(__file__).parents[2]
MAX_ANSWER_BYTES = 2**28
DIED = "the process"
"""How the error of a file begins that ended the process: no runtime said a word."""


@dataclass(frozen=True)
class Loaded:
    """Whether the runtime opened the file, and by which version, or why not."""

    ok: bool
    runtime: str
    version: str
    error: str


@dataclass(frozen=True)
class Examined:
    """A file as it is (`graph`), with every shape for a batch of one (`sized`), and as ONNX Runtime runs it (`fused`).

    `loaded` is None where the file wasn't opened: its weights lie outside its folder, or aren't there.
    """

    graph: Graph
    sized: Graph
    fused: Graph | None
    loaded: Loaded | None


def examine(path: Path, *, limits: Limits = LIMITS) -> Examined:
    """Examine an ONNX or TFLite file; ModelError, in one line, when it is neither, or can't be read within the limits."""
    if not path.is_file():
        raise ModelError(f"can't read model {path} (no such file); give an .onnx or .tflite file")
    check_name(path.absolute())
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(ROOT), str(path.absolute()), folder]
        finished = run_python(EXAMINER, arguments, limits=limits, cwd=Path(folder))
        return answers(Path(folder), path, finished)


def answers(folder: Path, path: Path, finished: Finished) -> Examined:
    """Read what the process wrote into a folder before it ended."""
    refused = _read(folder / "refused.json")
    if refused is not None:
        raise ModelError(str(json.loads(refused)["error"]).replace(str(path.absolute()), str(path)))
    graph = _graph(folder / "graph.json")
    if graph is None or finished.code > 0:
        raise ModelError(f"model {path} can't be read: the reader {explain(finished)}; export it again")
    sized = _graph(folder / "sized.json") or graph
    fused = _graph(folder / "fused.json")
    return Examined(graph, sized, None if fused is None else typed(fused, sized.tensors), _loaded(folder, finished))


def _loaded(folder: Path, finished: Finished) -> Loaded | None:
    text = _read(folder / "loaded.json")
    if text is not None:
        answer = json.loads(text)
        return Loaded(answer["ok"], answer.get("runtime", ""), answer.get("version", ""), answer.get("error", ""))
    return None if finished.ok else Loaded(ok=False, runtime="", version="", error=f"{DIED} {explain(finished)}")


def _graph(path: Path) -> Graph | None:
    text = _read(path)
    try:
        return None if text is None else from_json(text)
    except ValueError:  # half written when the process was ended
        return None


def _read(path: Path) -> str | None:
    if not path.is_file() or path.stat().st_size > MAX_ANSWER_BYTES:
        return None
    return path.read_text()
