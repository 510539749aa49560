"""The environment that made something: Python, the platform, and the exact versions of the distributions that had a part in it.

Those are the ones whose modules this process has loaded, the toolchain's, and all that these require in turn. An optional
requirement counts where it was loaded. Nothing here imports torch.
"""

import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from typing import Any

from packaging.utils import canonicalize_name

NAME = re.compile(r"^[A-Za-z0-9._-]+")
"""Of a requirement "name[extra]>=1; marker": https://packaging.python.org/specifications/dependency-specifiers/"""


def environment(toolchain: Iterable[str]) -> dict[str, Any]:
    """Return `{"python": ..., "platform": ..., "distributions": {name: version}}` as JSON values."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "distributions": _closure([*toolchain, *_loaded()]),
    }


def _loaded() -> list[str]:
    """Return the distributions that this process has loaded a module of."""
    providers = packages_distributions()
    loaded = {name.partition(".")[0] for name in sys.modules}
    return [provider for module in loaded for provider in providers.get(module, ())]


def _closure(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: set[str] = set()
    pending = list(names)
    while pending:
        name = canonicalize_name(pending.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            one = distribution(name)
        except PackageNotFoundError:
            continue  # asked for by a marker that doesn't hold here
        found[one.metadata["Name"]] = one.version
        pending += [_required(line) for line in one.requires or () if "extra ==" not in line]
    return found


def _required(line: str) -> str:
    match = NAME.match(line)
    assert match is not None, f"{line!r} is no requirement"
    return match[0]
