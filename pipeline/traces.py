"""What torch and torchao keep of a trace for ever, and how a process that works for long gets rid of it.

A `ShapeEnv` holds tensors whose sizes hold it in turn, in C++, where Python's collector sees nothing; caches of fake operators, of its methods and
of torchao's question for a network's device hold traces as well, whole networks among them; and the source of every graph stays, for tracebacks.
Together that is 4 to 5 MiB for a small recipe, each time.
"""

import gc
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

CACHES = (
    ("torch._subclasses.fake_tensor", "FakeTensorMode"),
    ("torch.ao.quantization.fx.utils", "assert_and_get_unique_device"),
    ("torchao.utils", "_assert_and_get_unique_device"),
)


@contextmanager
def forgotten() -> Iterator[None]:
    """Let go of all traces that are made inside, once it is left; those of before are the caller's and stay."""
    shapes, sources = WeakSet(_shape_environments()), set(_sources())
    try:
        yield
    finally:
        for made in _shape_environments():
            if made not in shapes:
                made.tracked_fakes = None
                made.fake_tensor_cache.clear()
        _clear_caches()
        for name in set(_sources()) - sources:
            del _sources()[name]
            linecache.cache.pop(name, None)


def _shape_environments() -> list[Any]:
    """Return all that live; a process that traced nothing has none."""
    symbolic = sys.modules.get("torch.fx.experimental.symbolic_shapes")
    if symbolic is None:
        return []
    return [found for found in gc.get_referrers(symbolic.ShapeEnv) if type(found) is symbolic.ShapeEnv]


def _sources() -> dict[str, str]:
    """Return the Python that torch.fx wrote for its graphs, by its made-up file names."""
    graphs = sys.modules.get("torch.fx.graph_module")
    return graphs._loader.eval_cache if graphs else {}  # noqa: SLF001 - torch has no other way to it


def _clear_caches() -> None:
    """Empty those that hold traces, where they are loaded; nothing is imported for that."""
    if symbolic := sys.modules.get("torch.fx.experimental.symbolic_shapes"):
        for method in vars(symbolic.ShapeEnv).values():
            if hasattr(method, "cache_clear"):
                method.cache_clear()
    for module, cached in CACHES:
        if module in sys.modules:
            getattr(sys.modules[module], cached).cache_clear()
