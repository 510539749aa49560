"""The one file that goes onto a board: runs a model there and prints what it saw as one line of JSON.

    python runner.py --model m.tflite --threads 1 --min-seconds 2 --min-runs 50 --cores 3     measure, on random inputs
    python runner.py --model m.tflite --inputs x.npz                                           measure, on these in turn
    python runner.py --model m.tflite --inputs x.npz --outputs y.npz                           answer given inputs
    python runner.py --model m.onnx --optimised fused.onnx                                     what ONNX Runtime makes of it
    python runner.py --model m.onnx --profile PREFIX          measure, and let ONNX Runtime write what each node took
    python runner.py --model m.tflite --count 3                          runs between marks, for an emulator that counts

It needs Python 3.8 or later, numpy, and whichever of ai_edge_litert, tflite_runtime and onnxruntime is there; it imports
nothing else of edgepress and does no statistics: samples go home as they are. What a board doesn't tell is null, never 0.
A sample is one inference without setting its inputs. The .npz of inputs holds an array [N, ...] an input, by its name or
as arr_0, arr_1, ... in order; each of the N samples is run alone, as a batch of 1, or as many together as a file's fixed
batch takes. That of outputs holds arr_0, ... [N, ...] in the order of `outputs` in the report. Arrays are never unpickled.
`load_us` is the time to open the file, which was read once before, with the runtime loaded; `model_peak_kib` is how much
memory the process came to hold through it and three inferences, over what it held before (VmHWM - VmRSS).
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
FEWEST_TICKS = 40  # of 10 ms as a rule
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Since 1.31 ONNX Runtime writes a device's identity into the home folder and sends events home (microsoft/onnxruntime, pull 27379)."""
START_MARK, STOP_MARK = 0x7ED00001, 0x7ED00002
"""Process groups that can't exist; asking for one is a harmless system call, which an emulator's plug-in sees."""


class Input:
    """What a model takes: how the runtime calls it, its dtype and its shape as the file says it: a number, or an open size."""

    def __init__(self, key: Any, dtype: np.dtype[Any], declared: list[Any]) -> None:
        self.key, self.dtype, self.declared = key, dtype, declared
        self.shape = [size if _fixed(size) else 1 for size in declared]

    @property
    def batch(self) -> int:
        """How many samples one run takes."""
        return self.shape[0] if self.shape else 1


class LiteRt:
    """A TFLite file, by ai_edge_litert or the older tflite_runtime."""

    def __init__(self, path: str, threads: int, shapes: dict[str, list[int]] | None = None) -> None:
        interpreter, self.name = _interpreter_class()
        self.notes: list[str] = []
        self.version = _version("ai-edge-litert" if self.name == "litert" else "tflite-runtime")
        self.interpreter = interpreter(model_path=path, num_threads=threads)
        for detail in self.interpreter.get_input_details() if shapes else ():
            if shapes and detail["name"] in shapes:
                self.interpreter.resize_tensor_input(detail["index"], shapes[detail["name"]], strict=True)
        self.interpreter.allocate_tensors()
        details = self.interpreter.get_output_details()
        self.names = [str(detail["name"]) for detail in details]
        self.indices = [detail["index"] for detail in details]
        self.inputs = {
            str(detail["name"]): Input(detail["index"], np.dtype(detail["dtype"]), _declared(detail))
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

    def __init__(self, path: str, threads: int, optimised: str | None, profile: str | None = None) -> None:
        import onnxruntime  # noqa: PLC0415  # a board has one runtime, not all

        onnxruntime.set_default_logger_severity(3)
        self.name, self.version = "onnxruntime", onnxruntime.__version__
        self.session = self._opened(onnxruntime, path, threads, optimised, profile)
        self.inputs = {
            given.name: Input(given.name, _onnx_dtype(given.type), list(given.shape))
            for given in self.session.get_inputs()
        }
        self.names = [str(output.name) for output in self.session.get_outputs()]

    def _opened(self, onnxruntime: Any, path: str, threads: int, optimised: str | None, profile: str | None) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Unsigned activations with signed weights saturate on x86 without VNNI unless precision is asked for.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if optimised:
            # The extended level fuses quantised operators and stops before layouts of this one processor.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = optimised
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
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
    os.environ.setdefault(NO_TELEMETRY, "1")
    options = _parse(arguments)
    settings = _settle(options)
    digest, tflite = _sha256(options.model), _is_tflite(options.model)
    _load_runtime(tflite=tflite)
    held_kib, start = _forget_peak(), time.perf_counter_ns()
    model = _open(options, tflite=tflite)
    opened = {"load_us": round((time.perf_counter_ns() - start) / 1000, 3), "held_kib": held_kib}
    report = {
        "schema": SCHEMA,
        "runtime": model.name,
        "runtime_version": model.version,
        "arch": platform.machine(),
        "model_sha256": digest,
        **settings,
    }
    if options.outputs:
        report.update(_answer(model, options))
    elif options.count:
        report.update(_count(model, options))
        for further in options.also:
            options.model = further
            _count(_open(options, tflite=tflite), options)
    elif not options.optimised:
        report.update(_measure(model, options, opened))
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
    parser.add_argument("--max-seconds", type=float, default=60.0, help="ends even the fewest runs, but for one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shape", action="append", default=[], help="NAME=1x3x224x224")
    for file in ("--inputs", "--outputs", "--optimised", "--profile"):
        parser.add_argument(file)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--also", action="append", default=[], help="a further file of that format to count")
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


def _is_tflite(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123  # a path given on the command line is opened as it is
        return file.read(8)[4:] == b"TFL3"


def _load_runtime(*, tflite: bool) -> None:
    """Import what will run the file, so that its time and memory aren't the file's; a run's inputs come from numpy's generator."""
    if tflite:
        _interpreter_class()
    else:
        import onnxruntime  # noqa: F401, PLC0415  # a board has one runtime, not all
    np.random.default_rng(0).standard_normal(1)


def _open(options: argparse.Namespace, *, tflite: bool) -> LiteRt | OnnxRuntime:
    if tflite:
        return LiteRt(options.model, options.threads, _shapes(options))
    return OnnxRuntime(options.model, options.threads, options.optimised, options.profile)


def _measure(model: LiteRt | OnnxRuntime, options: argparse.Namespace, opened: dict[str, Any]) -> dict[str, Any]:
    values = _batches(model, options.inputs) if options.inputs else [_random_inputs(model, options)]
    first = _timed(model, values, options, 0, 3)
    peak_kib = _status_kib("VmHWM")
    warmup = _timed(model, values, options, options.warmup_seconds, 1)
    before = _circumstances()
    switches, ticks, cpu, wall = _switches(), _ticks(), time.process_time(), time.perf_counter()
    samples = _timed(model, values, options, options.min_seconds, options.min_runs)
    cpu, wall, later = time.process_time() - cpu, time.perf_counter() - wall, _ticks()
    held_kib = opened["held_kib"]
    return {
        "load_us": opened["load_us"],
        "first_us": first[0],
        "model_peak_kib": None if held_kib is None or peak_kib is None else max(0, peak_kib - held_kib),
        "warmup_us": [*first, *warmup][:20],
        "samples_us": samples,
        "cpu_over_wall": round(cpu / wall, 4),
        "nivcsw": _switches() - switches,
        **_shares(ticks, later, cpu),
        "output_sha256": _outputs_sha256(model),
        "before": before,
        "after": _circumstances(),
    }


def _count(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    """Run between marks: nothing once, which costs what marks cost, then the model so many times. No time is taken."""
    model.set(_batches(model, options.inputs)[0] if options.inputs else _random_inputs(model, options))
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


def _timed(
    model: LiteRt | OnnxRuntime,
    values: list[dict[str, Any]],
    options: argparse.Namespace,
    min_seconds: float,
    min_runs: int,
) -> list[float]:
    """Return microseconds a run, until both minima are reached or a maximum is; several inputs take turns, set untimed."""
    samples: list[float] = []
    invoke, clock = model.invoke, time.perf_counter_ns
    model.set(values[0])
    begun = clock()
    end, latest = begun + int(min_seconds * 1e9), begun + int(options.max_seconds * 1e9)
    while len(samples) < options.max_runs and (len(samples) < min_runs or clock() < end):
        if len(values) > 1:
            model.set(values[len(samples) % len(values)])
        start = clock()
        invoke()
        samples.append(round((clock() - start) / 1000, 3))
        if clock() > latest:
            break
    return samples


def _shapes(options: argparse.Namespace) -> dict[str, list[int]]:
    given = dict(shape.rsplit("=", 1) for shape in options.shape)
    return {name: [int(size) for size in shape.split("x")] for name, shape in given.items()}


def _random_inputs(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    shapes = _shapes(options)
    unknown = sorted(set(shapes) - set(model.inputs))
    if unknown:
        sys.exit(f"no input {unknown[0]!r}; known: {', '.join(model.inputs)}")
    random = np.random.default_rng(options.seed)
    values = {}
    for name, given in model.inputs.items():
        if name not in shapes and not all(_fixed(size) for size in given.declared[1:]):
            asked = "x".join(
                str(size) if _fixed(size) else "1" if not at else "N" for at, size in enumerate(given.declared)
            )
            declared = ", ".join(map(str, given.declared))
            sys.exit(f"input {name!r} is [{declared}]; give its open sizes with --shape {name}={asked}, N a number")
        values[name] = _random(random, given.dtype, tuple(shapes.get(name, given.shape)))
    return values


def _random(random: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max + 1, shape).astype(dtype)
    return random.integers(0, 2, shape).astype(dtype)  # wider integers are indices as a rule: stay within any table


def _answer(model: LiteRt | OnnxRuntime, options: argparse.Namespace) -> dict[str, Any]:
    collected: list[list[Any]] = [[] for _ in model.names]
    batches = _batches(model, options.inputs)
    for values in batches:
        model.set(values)
        model.invoke()
        for answers, answer in zip(collected, model.answers()):  # noqa: B905  # strict= came with Python 3.10
            answers.append(np.array(answer))
    np.savez(
        options.outputs, *[np.concatenate(answers) if answers[0].ndim else np.stack(answers) for answers in collected]
    )
    return {"answered": len(batches), "outputs": model.names}


def _batches(model: LiteRt | OnnxRuntime, path: str) -> list[dict[str, Any]]:
    """Return the given samples as the model takes them, a run each."""
    given = _given(path, list(model.inputs))
    for name, values in given.items():
        wanted = model.inputs[name]
        if values.ndim != len(wanted.shape) or values.ndim == 0 or len(values) < wanted.batch:
            declared = ", ".join(map(str, ["N", *wanted.declared[1:]]))
            sys.exit(
                f"the .npz's {name!r} is {list(values.shape)}; the model takes samples [{declared}], {wanted.batch} a run"
            )
    return [
        {
            name: np.ascontiguousarray(values[index * size : (index + 1) * size], dtype=model.inputs[name].dtype)
            for name, values in given.items()
            for size in [model.inputs[name].batch]
        }
        for index in range(min(len(values) // model.inputs[name].batch for name, values in given.items()))
    ]


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


def _shares(before: dict[int, Any], after: dict[int, Any], cpu_seconds: float) -> dict[str, Any]:
    """Return the share of time that the cores beside ours were at work, and that of ours that others took.

    Null where there is no such core, where nobody says, or where too few ticks went by to tell.
    """
    ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(after)
    spent = {core: [after[core][at] - before[core][at] for at in (0, 1)] for core in after if core in before}
    busy, total = (sum(spent[core][at] for core in spent if core not in ours) for at in (0, 1))
    our_busy, our_total = (sum(spent[core][at] for core in spent if core in ours) for at in (0, 1))
    taken = max(0.0, our_busy - cpu_seconds * os.sysconf("SC_CLK_TCK"))
    return {
        "neighbours_busy": round(busy / total, 4) if total > 0 else None,
        "others_on_ours": round(taken / our_total, 4) if our_total >= FEWEST_TICKS else None,
    }


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


def _fixed(size: Any) -> bool:
    return isinstance(size, int) and size >= 0


def _declared(detail: dict[str, Any]) -> list[Any]:
    """Return a TFLite input's shape with -1 where the size is open, unless it was resized."""
    shape, signature = [int(size) for size in detail["shape"]], [int(size) for size in detail["shape_signature"]]
    was_given = len(signature) != len(shape) or any(size > 1 for size, said in zip(shape, signature) if said < 0)  # noqa: B905  # as above
    return shape if was_given else signature


def _forget_peak() -> int | None:
    """Let the system forget the most that this process held, and return what it holds now in KiB; null where it can't."""
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123  # a system file
            file.write("5")  # resets VmHWM: proc(5), /proc/pid/clear_refs, since Linux 4.0
    except OSError:
        return None
    return _status_kib("VmRSS")


def _status_kib(name: str) -> int | None:
    try:
        with open("/proc/self/status") as file:  # noqa: PTH123  # a system file
            lines = [line.split() for line in file if line.startswith(name + ":")]
    except OSError:
        return None
    return int(lines[0][1]) if lines else None


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
