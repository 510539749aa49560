"""Every parser of what comes from outside, with sound inputs to start from; each either returns or raises an EdgepressError of one line.

A parser that takes a path is given one in memory. What may raise anything else, or take long, is what `fuzz.py` looks for.
"""

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from devices.adb import read_devices
from devices.arm.counts import CACHES, CLASSES, WARM_REGIONS, read_counts
from devices.benchmark_model import read_summary
from devices.circumstances import read_circumstances
from devices.layer_times import read_profile
from devices.spec import read_cores, split_options
from devices.tflm import read_arena
from devices.turns import read_turn
from devices.vela import read_estimate
from pipeline.archive.pack import pack
from pipeline.archive.verify import verify
from pipeline.artifact import MANIFEST, canonical_json, open_artifact
from pipeline.errors import ModelError
from pipeline.gate.baseline import read_baseline
from pipeline.gate.budget import read_budget
from pipeline.gate.samples import read_samples
from pipeline.gate.settings import read_settings
from pipeline.gate.waivers import read_waivers
from pipeline.places import read_places
from pipeline.pruning.table import FILE as TABLE
from pipeline.pruning.table import read_table
from pipeline.recipe import read_recipe
from pipeline.report.reading import read_run, read_trials
from pipeline.saved_network import ARCHITECTURE, WEIGHTS, read_architecture, read_header
from targets import load_target
from targets.profiles import SHIPPED
from tests.pipeline.checks import fuzz_worker
from tests.small_archive import indexed, members_of, written
from tests.small_files import write_float_onnx, write_float_tflite, write_onnx, write_tflite
from tests.small_report import SEARCH, report
from tests.small_run import write_run

STAGES = ("teach", "distill", "prune", "quantize", "export_onnx", "export_tflite", "outputs", "ptq_onnx", "ptq_tflite")
RECIPES = Path(__file__).parents[3] / "pipeline" / "recipes"
ADB = "List of devices attached\nemulator-5554\tdevice product:sdk model:Pixel_8\n0123456789ABCDEF       unauthorized usb:1-1\n"
BENCHMARK = (
    "count=1 curr=1502\ncount=50 first=60 curr=58 min=57 max=90 avg=59.2 std=3 p5=57 median=58 p95=66\n"
    "Inference timings in us: Init: 1502, First inference: 98, Warmup (avg): 60.1, Inference (avg): 59.2\n"
    "Memory footprint delta from the start of the tool (MB): init=1.2 overall=3.4\n"
    "Replacing 5 out of 6 node(s) with delegate (TfLiteXNNPackDelegate)\n"
)
ARENA = "Arena allocation total 2048 bytes\nArena allocation head 1024 bytes\nArena allocation tail 1024 bytes\n"
VELA = "experiment,core_clock,sram_memory_used,cycles_total\ndefault,500000000.0,5.0,5200\n\0op,x,Target\nConv2D,Conv2D,NPU,1,1,2976,1,1,1,0,0,1,1,1,1,a\n"
STATE = "@edgepress governor ondemand\n@edgepress freq_khz 1500000\n@edgepress zone 45000 cpu-thermal\n@edgepress cooling 0 cpufreq-cpu0\n"
PARTS = ("manifest.json", "report.json", "bom.cdx.json")
SETTINGS = 'schema = 1\nmodels = ["*.tflite"]\ntargets = ["raspberry-pi-4"]\n[budget]\nsize_kib = 56\n[[check]]\nmodels = ["a.onnx"]\nbudget = { max_lsb = 1 }\n'
WAIVERS = '[[waive]]\ncode = "falls-back"\nmodel = "a.tflite"\nreason = "the head stays float"\nuntil = 2027-01-01\n'


NAME = re.compile(rb"^name = .*$", re.MULTILINE)


@dataclass(frozen=True)
class Parser:
    """A reader of bytes and what it is known to read."""

    read: Callable[[bytes], object]
    seeds: Sequence[bytes]


def parsers(folder: Path) -> dict[str, Parser]:
    """Return all of them by name; `folder` holds the files that they are given."""
    return {**_texts(folder), **_printed(folder), **_files(folder), **_archives(folder)}


def _texts(folder: Path) -> dict[str, Parser]:
    """What people write."""
    recipes = [path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))]
    profiles = [path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]
    return {
        "recipe": Parser(_at(folder / "recipe.toml", partial(read_recipe, stages=STAGES)), recipes),
        "target": Parser(
            _at(folder / "target.toml", load_target), [NAME.sub(b'name = "target"', each, count=1) for each in profiles]
        ),
        "settings": Parser(
            _at(folder / "edgepress.toml", partial(read_settings, models=[folder / "a.onnx"])), [SETTINGS.encode()]
        ),
        "waivers": Parser(_at(folder / "waivers.toml", read_waivers), [WAIVERS.encode()]),
        "baseline": Parser(_at(folder / "baseline.json", read_baseline), [_baseline()]),
        "budget": Parser(lambda content: read_budget(_text(content).split("\n")), [b"size_kib=56\nmax_lsb=1"]),
        "places": Parser(lambda content: read_places(_text(content).split("\n")), [b"raspberry-pi-4=ssh://pi@board"]),
        "spec": Parser(_spec, [b"ssh://pi@board?cores=2,3&python=/opt/py/bin/python3"]),
    }


def _printed(folder: Path) -> dict[str, Parser]:
    """What devices and tools print."""
    names = ("instructions", *CLASSES, *CACHES)
    counts = "\n".join(json.dumps(dict.fromkeys(names, 100 + line)) for line in range(WARM_REGIONS + 2))
    events = [
        {"cat": "Node", "name": f"conv{number}_kernel_time", "dur": 10 + number, "args": {"op_name": "Conv"}}
        for number in range(4)
    ]
    return {
        "turn": Parser(lambda content: read_turn(_text(content), Path("model.onnx")), [_turn()]),
        "adb devices": Parser(lambda content: read_devices(_text(content)), [ADB.encode()]),
        "benchmark_model": Parser(lambda content: read_summary(_text(content), "phone"), [BENCHMARK.encode()]),
        "arena": Parser(lambda content: read_arena(_text(content)), [ARENA.encode()]),
        "vela": Parser(_vela, [VELA.encode()]),
        "state of a board": Parser(lambda content: read_circumstances(_text(content).splitlines()), [STATE.encode()]),
        "counts of qemu": Parser(_at(folder / "counts", partial(read_counts, runs=1)), [counts.encode()]),
        "profile of layers": Parser(_at(folder / "profile.json", read_profile), [json.dumps(events).encode()]),
    }


def _files(folder: Path) -> dict[str, Parser]:
    """What is stored or sent as a file."""
    saved = folder / "network"
    saved.mkdir(exist_ok=True)
    writers: Sequence[Callable[[Path], Path]] = (write_onnx, write_tflite, write_float_onnx, write_float_tflite)
    models = [write(folder / str(number)).read_bytes() for number, write in enumerate(writers)]
    artifact = canonical_json({"schema": 1, "kind": "network", "facts": {"score": 0.5, "names": ["a", "b"]}})
    return {
        "onnx": Parser(_at(folder / "model", _judged), models[::2]),
        "tflite": Parser(_at(folder / "model", _judged), models[1::2]),
        "samples": Parser(
            _at(folder / "samples.npz", read_samples), [_samples(np.savez), _samples(np.savez_compressed)]
        ),
        "artifact": Parser(_in(saved, MANIFEST, open_artifact), [artifact.encode()]),
        "architecture": Parser(_in(saved, ARCHITECTURE, read_architecture), [_architecture()]),
        "weights": Parser(_in(saved, WEIGHTS, read_header), [_weights()]),
        "table of costs": Parser(_in(saved, TABLE, read_table), [_table()]),
        "report of a run": Parser(_in(saved, "report.json", read_run), [json.dumps(report().to_json()).encode()]),
        "search of a run": Parser(_in(saved, "fit.json", read_trials), [SEARCH.encode()]),
    }


def _archives(folder: Path) -> dict[str, Parser]:
    """An archive as it comes, and one whose index vouches for a hostile part."""
    whole = folder / "whole.edgepress"
    pack(write_run(folder / "run"), out=whole)
    members = members_of(whole)

    def with_part(name: str) -> Callable[[bytes], object]:
        def put_in(content: bytes) -> object:
            return verify(written(folder / "forged.edgepress", indexed({**members, name: content})))

        return put_in

    parts = {f"{name} of an archive": Parser(with_part(name), [members[name]]) for name in PARTS}
    return {"archive": Parser(_at(folder / "altered.edgepress", verify), [whole.read_bytes()]), **parts}


def _at(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def written(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return written


def _in(folder: Path, name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def written(content: bytes) -> object:
        (folder / name).write_bytes(content)
        return read(folder)

    return written


def _judged(path: Path) -> str:
    """Judge a model as `check` does, but for its runtime, and refuse as its reader does."""
    found = fuzz_worker.outcome(path)
    if found == "refused":
        raise ModelError(found)
    assert "judged" in found, found
    return found


def _text(content: bytes) -> str:
    """Decode as the links to boards do."""
    return content.decode(errors="replace")


def _spec(content: bytes) -> object:
    head, options = split_options(_text(content), ("cores", "python"))
    return head, read_cores(options.get("cores", "0"), head)


def _vela(content: bytes) -> object:
    summary, _, operators = _text(content).partition("\0")
    return read_estimate(summary, operators)


def _turn() -> bytes:
    told = {
        "cpu_over_wall": 1.0,
        "neighbours_busy": 0.1,
        "runtime": "litert",
        "runtime_version": "2.3.0",
        "load_us": 12.0,
    }
    return json.dumps({"samples_us": [10.0, 11.5, 12.25], "model_sha256": "0" * 64, **told, "first_us": 15.0}).encode()


def _baseline() -> bytes:
    entry = {
        "format": "tflite",
        "size_bytes": 100,
        "macs": 10,
        "operators": {"CONV_2D": 1},
        "inputs": ["x int8 [1, 2, 4, 4]"],
    }
    return json.dumps({"schema": 1, "models": {"a.tflite": entry}, "tolerance_percent": {"size_bytes": 1.0}}).encode()


def _samples(save: Callable[..., None]) -> bytes:
    held = io.BytesIO()
    save(held, x=np.zeros((2, 3), np.float32), labels=np.array([0, 1]))
    return held.getvalue()


def _architecture() -> bytes:
    shapes = {"features.0.weight": {"was": [8, 1, 3, 3], "is": [4, 1, 3, 3]}}
    document = {
        "schema": 1,
        "constructor": "student",
        "shapes": shapes,
        "attributes": {"features.0": {"out_channels": {"was": 8, "is": 4}}},
    }
    return json.dumps(document).encode()


def _weights() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def _table() -> bytes:
    curve = {"widths": [1, 2], "costs": [1.0, 2.0]}
    names = {"quantity": "latency", "unit": "ms", "label": "measured", "device": "host", "machine": "x86_64"}
    sums = {"whole": 3.0, "scale": 1.0, "rest": 0.5, "narrowest": 1.0, "narrowest_error": 0.1}
    layer = {"cost": 2.0, "out": curve, "into": curve}
    return json.dumps({**names, **sums, "per_channel": {}, "channels": {"conv": 2}, "layers": {"conv": layer}}).encode()
