"""The one file that goes onto a board: runs a model there and prints what it saw as one line of JSON.

    python runner.py --model m.tflite --threads 1 --min-seconds 2 --min-runs 50 --cores 3     measure
    python runner.py --model m.tflite --inputs x.npz --outputs y.npz                           answer given inputs
    python runner.py --model m.onnx --optimised fused.onnx                                     what ONNX Runtime makes of it
    python runner.py --model m.tflite --count 3                          runs between marks, for an emulator that counts

It needs Python 3.8 or later, numpy, and whichever of ai_edge_litert, tflite_runtime and onnxruntime is there; it imports
nothing else of edgepress and does no statistics: samples go home as they are. What a board doesn't tell is null, never 0.
A sample is one inference without setting its inputs. The .npz of inputs holds an array [N, ...] an input, by its name or
as arr_0, arr_1, ... in order; each of the N samples is run alone, as a batch of 1. That of outputs holds arr_0, ... [N, ...]
in the order of `outputs` in the report. Arrays are never unpickled.
"""

from __future__ import annotations  # so that the types below cost Python 3.8 nothing

import argparse
import contextlib
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

SCHEMA = 1
HIGHEST_PRIORITY = -20
START_MARK, STOP_MARK = 0x7ED00001, 0x7ED00002
"""Process groups that can't exist; asking for one is a harmless system call, which an emulator's plug-in sees."""


class Input:
    """What a model takes: how the runtime calls it, its dtype and its shape, 1 where the size is open."""

    def __init__(self, key: Any, dtype: np.dtype[Any], shape: list[int]) -> None:
        self.key, self.dtype, self.shape = key, dtype, shape


class LiteRt:
    """A TFLite file, by ai_edge_litert or the older tflite_runtime."""

    def __init__(self, path: str, threads: int) -> None:
        interpreter, self.name = _interpreter_class()
        self.notes: list[str] = []
        self.version = _version("ai-edge-litert" if self.name == "litert" else "tflite-runtime")
        self.interpreter = interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        details = self.interpreter.get_output_details()
        self.names = [str(detail["name"]) for detail in details]
        self.indices = [detail["index"] for detail in details]
        self.inputs = {
            str(detail["name"]): Input(
                detail["index"], np.dtype(detail["dtype"]), [int(size) for size in detail["shape"]]
            )
            for detail in self.interpreter.get_input_details()
        }

    def set(self, values: dict[str, Any]) -> None:
        """Put one input each in place."""
        for name, value in values.items():
            self.interpreter.set_tensor(self.inputs[name].key, value)

    def invoke(self) -> None:
        """Run once."""
        self.interpreter.invoke()

    def answers(self) -> list[Any]:
        """Return the outputs of the last run."""
        return [self.interpreter.get_tensor(index) for index in self.indices]


class OnnxRuntime:
    """An ONNX file, by onnxruntime on the processor."""

    def __init__(self, path: str, threads: int, optimised: str | None) -> None:
        import onnxruntime  # noqa: PLC0415  # a board has one runtime, not all

        onnxruntime.set_default_logger_severity(3)
        self.name, self.version = "onnxruntime", onnxruntime.__version__
        self.session = self._opened(onnxruntime, path, threads, optimised)
        self.inputs = {
            given.name: Input(
                given.name, _onnx_dtype(given.type), [size if isinstance(size, int) else 1 for size in given.shape]
            )
            for given in self.session.get_inputs()
        }
        self.names = [str(output.name) for output in self.session.get_outputs()]

    def _opened(self, onnxruntime: Any, path: str, threads: int, optimised: str | None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Unsigned activations with signed weights saturate on x86 without VNNI unless precision is asked for.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if optimised:
            # The extended level fuses quantised operators and stops before layouts of this one processor.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = optimised
        try:
            self.notes = ["session.x64quantprecision=1"]
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own classes are found only once it is imported
            # 1.31 fails so where two weights share one zero point, and opens the file without the option.
            if "replace the existing tensor" not in str(error):
                raise
            self.notes = ["session.x64quantprecision=0"]
            options.add_session_config_entry("session.x64quantprecision", "0")
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def set(self, values: dict[str, Any]) -> None:
        """Put one input each in place."""
        self.values = values

    def invoke(self) -> None:
        """Run once."""
        self.results = self.session.run(None, self.values)

    def answers(self) -> list[Any]:
        """Return the outputs of the last run."""
        return list(self.results)


def main(arguments: list[str]) -> None:
    """Do what the command line asks and print one line of JSON."""
    options = _parse(arguments)
    settings = _settle(options)
    model = _open(options)
    report = {
        "schema": SCHEMA,
        "runtime": model.name,
        "runtime_version": model.version,
        "arch": platform.machine(),
        **settings,
    }
    report["model_sha256"] = _sha256(options.model)
    if options.inputs:
        report.update(_answer(model, options))
    elif options.count:
        report.update(_count(model, options))
    elif not options.optimised:
        report.update(_measure(model, options))
    report["peak_rss_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(report, allow_nan=False))  # noqa: T201  # the line of JSON is this program's answer


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", default="")
    parser.add_argument("--warmup-seconds", type=float, default=0.5)
    parser.add_argument("--min-seconds", type=float, default=2.0)
    parser.add_argument("--min-runs", type=int, default=50)
    parser.add_argument("--max-runs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", action="append", default=[], help="NAME=1x3x224x224")
    parser.add_argument("--inputs")
    parser.add_argument("--outputs")
    parser.add_argument("--optimised")
    parser.add_argument("--count", type=int, default=0)
    return parser.parse_args(arguments)


def _settle(options: argparse.Namespace) -> dict[str, Any]:
    """Pin this process to its cores and raise its priority where that is allowed."""
    cores = sorted(int(core) for core in options.cores.split(",") if core)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    try:
        priority = os.nice(0 if options.count else HIGHEST_PRIORITY)
    except OSError:
        priority = os.nice(0)
    pinned = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"threads": options.threads, "cores": pinned, "priority": priority}


def _open(options: argparse.Namespace) -> LiteRt | OnnxRuntime:
    with open(options.model, "rb") as file:  # noqa: PTH123  # a path given on the command line is opened as it is
        tflite = file.read(8)[4:] == b"TFL3"
    return (
        LiteRt(options.model, options.threads)
        if tflite
        else OnnxRuntime(options.model, options.threads, options.optimised)
    )


def _measure(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    values = _random_inputs(model, options)
    model.set(values)
    warmup = _timed(model, options.warmup_seconds, 1, options.max_runs)
    before = _circumstances()
    switches, ticks, cpu, wall = _switches(), _ticks(), time.process_time(), time.perf_counter()
    samples = _timed(model, options.min_seconds, options.min_runs, options.max_runs)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "warmup_us": warmup[:20],
        "samples_us": samples,
        "cpu_over_wall": round(cpu / wall, 4),
        "nivcsw": _switches() - switches,
        "neighbours_busy": _neighbours_busy(ticks, _ticks()),
        "output_sha256": _outputs_sha256(model),
        "before": before,
        "after": _circumstances(),
    }


def _count(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    """Run between marks: nothing once, which costs what marks cost, then the model so many times. No time is taken."""
    model.set(_random_inputs(model, options))
    runs = [lambda: None, model.invoke] * 2  # the first runs fill caches and the runtime's own tables
    for run in [*runs, lambda: None, *[model.invoke] * options.count]:
        _mark(START_MARK)
        run()
        _mark(STOP_MARK)
    return {"counted": options.count, "output_sha256": _outputs_sha256(model)}


def _mark(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(number)


def _outputs_sha256(model: LiteRt | OnnxRuntime) -> str:
    digest = hashlib.sha256()
    for answer in model.answers():
        digest.update(np.ascontiguousarray(answer).tobytes())
    return digest.hexdigest()


def _timed(model: LiteRt | OnnxRuntime, min_seconds: float, min_runs: int, max_runs: int) -> list[float]:
    """Return microseconds a run, until both minima are reached or the maximum is."""
    samples: list[float] = []
    invoke, clock = model.invoke, time.perf_counter_ns
    end = clock() + int(min_seconds * 1e9)
    while len(samples) < max_runs and (len(samples) < min_runs or clock() < end):
        start = clock()
        invoke()
        samples.append(round((clock() - start) / 1000, 3))
    return samples


def _random_inputs(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    shapes = dict(shape.split("=", 1) for shape in options.shape)
    unknown = sorted(set(shapes) - set(model.inputs))
    if unknown:
        sys.exit(f"no input {unknown[0]!r}; known: {', '.join(model.inputs)}")
    random = np.random.default_rng(options.seed)
    values = {}
    for name, given in model.inputs.items():
        wanted = tuple(int(n) for n in shapes[name].split("x")) if name in shapes else tuple(given.shape)
        values[name] = _random(random, given.dtype, wanted)
    return values


def _random(random: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max + 1, shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # wider integers are indices as a rule: stay within any table


def _answer(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    given = _given(options.inputs, list(model.inputs))
    collected: list[list[Any]] = [[] for _ in model.names]
    count = min(len(values) for values in given.values())
    for index in range(count):
        one = {name: values[index : index + 1] for name, values in given.items()}
        model.set({name: np.ascontiguousarray(value, dtype=model.inputs[name].dtype) for name, value in one.items()})
        model.invoke()
        for answers, answer in zip(collected, model.answers()):  # noqa: B905  # strict= came with Python 3.10
            answers.append(np.array(answer))
    np.savez(
        options.outputs, *[np.concatenate(answers) if answers[0].ndim else np.stack(answers) for answers in collected]
    )
    return {"answered": count, "outputs": model.names}


def _given(path: str, names: list[str]) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        given = {name: file[name] for name in file.files}
    if set(given) == {f"arr_{index}" for index in range(len(names))}:
        return {name: given[f"arr_{index}"] for index, name in enumerate(names)}
    if set(given) != set(names):
        sys.exit(f"the .npz holds {', '.join(sorted(given))}; the model takes {', '.join(sorted(names))}")
    return given


def _circumstances() -> dict[str, Any]:
    """Return what may disturb a measurement: null where the system doesn't say."""
    return {
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "freq_khz": _number("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"),
        "temp_mc": _number("/sys/class/thermal/thermal_zone0/temp"),
        "throttled": _throttled(),
        "loadavg": list(os.getloadavg()),
    }


def _neighbours_busy(before: dict[int, tuple[int, int]], after: dict[int, tuple[int, int]]) -> float | None:
    """Return the share of time that the cores beside ours were at work; null where there is none, or nobody says."""
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(after)
    others = [core for core in after if core in before and core not in ours]
    busy = sum(after[core][0] - before[core][0] for core in others)
    total = sum(after[core][1] - before[core][1] for core in others)
    return round(busy / total, 4) if total > 0 else None


def _ticks() -> dict[int, tuple[int, int]]:
    """Return (busy, all) clock ticks of each core since the system started."""
    try:
        with open("/proc/stat") as file:  # noqa: PTH123  # a system file
            fields = [line.split() for line in file if line.startswith("cpu") and not line.startswith("cpu ")]
    except OSError:
        return {}
    counts = {int(field[0][3:]): [int(count) for count in field[1:9]] for field in fields}
    return {
        core: (sum(count) - count[3] - count[4], sum(count)) for core, count in counts.items()
    }  # 3: idle, 4: waiting for a disk


def _throttled() -> str | None:
    """Return the Raspberry Pi's own word on throttling, or null on another board."""
    try:
        done = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S607  # its place differs between systems
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().split("=")[-1] if done.returncode == 0 else None


def _read(path: str) -> str | None:
    try:
        with open(path) as file:  # noqa: PTH123  # one line of a system file
            return file.read(256).strip()
    except OSError:
        return None


def _number(path: str) -> int | None:
    text = _read(path)
    return int(text) if text and text.lstrip("-").isdigit() else None


def _switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123  # a path given on the command line is opened as it is
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


def _interpreter_class() -> tuple[Any, str]:
    try:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  # a board has one runtime, not all
    except ImportError:
        from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]  # noqa: PLC0415  # as above; installs on boards

        return Interpreter, "tflite_runtime"
    return Interpreter, "litert"


def _onnx_dtype(name: str) -> np.dtype[Any]:
    inner = name[len("tensor(") : -1]
    return np.dtype({"float": "float32", "double": "float64"}.get(inner, inner))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main(sys.argv[1:])
