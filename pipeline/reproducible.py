"""The conditions under which a training gives the same bytes again, and can be interrupted without loss.

One thread unless told otherwise, deterministic algorithms, products of whole float32 numbers (not cuDNN's default, TensorFloat-32, which
keeps 10 bits of 23), and the process left as it was found: random state, threads, torch's switches. Ctrl-C waits for the end of a step, where a checkpoint is whole.
"""

import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, cast

import numpy as np
import torch

from pipeline.errors import TrainingError


@contextmanager
def conditions(*, threads: int, deterministic: bool, accelerator: str) -> Iterator[None]:
    """Compute on so many threads, with deterministic algorithms or without; give the process back as it was."""
    threads_before, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory = cast("Any", torch.utils.deterministic)  # its one attribute is made at import, out of mypy's sight
    fills = memory.fill_uninitialized_memory
    rounds, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    if accelerator == "cuda":  # cuBLAS asks for it: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=_seen_accelerators(accelerator)):
        try:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(deterministic)
            memory.fill_uninitialized_memory = False  # costs time, and our results don't depend on it
            torch.backends.cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.backends.cudnn.benchmark = benchmark
            torch.use_deterministic_algorithms(strict, warn_only=warns)
            memory.fill_uninitialized_memory = fills
            torch.backends.cudnn.allow_tf32 = rounds
            torch.set_float32_matmul_precision(precision)


def _seen_accelerators(accelerator: str) -> list[int]:
    """Return the CUDA devices whose random state may change; none on the processor, or looking would take memory on each."""
    seen = accelerator == "cuda" or torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return list(range(torch.cuda.device_count())) if seen else []


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that networks are drawn from, and leave them as they were."""
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from either
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - as above
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)  # noqa: NPY002 - as above


@contextmanager
def interrupts_between_steps() -> Iterator[threading.Event]:
    """Let Ctrl-C wait for the end of a step, where a checkpoint is whole; a second one does not wait."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def determinism_explained(stage: str) -> Iterator[None]:
    """Turn torch's refusal of an operator that isn't deterministic into advice."""
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"{stage}: {' '.join(str(error).split())[:200]}; set deterministic = false (equal bytes after a restart are then not promised)"
        ) from error
