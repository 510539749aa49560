"""Where each target is measured: `--device [TARGET=]SPEC`, or `device` and `[devices]` of a recipe or a file of settings.

A board is one device: its figures must not judge two targets, so that with several of them a board names the one that it
is. What computes by a target's profile (qemu, vela, tflm) stands for whichever target it is given.
"""

import re
from collections.abc import Mapping, Sequence

from pipeline.errors import RecipeError, did_you_mean

EVERY = ""
BY_PROFILE = frozenset({"qemu", "vela", "tflm", "host"})
"""Backends that a spec without a target may name for several: host is in it, since it never judges any."""

_NAMED = re.compile(r"([^:/?=]+)=(.+)", re.DOTALL)


def read_places(specs: Sequence[str]) -> dict[str, str]:
    """Return specs by target, that of every target under EVERY; RecipeError where two speak of one."""
    places: dict[str, str] = {}
    for text in specs:
        match = _NAMED.fullmatch(text)
        target, spec = (match[1], match[2]) if match else (EVERY, text)
        if target in places:
            raise RecipeError(
                f"--device names {target or 'every target'} twice: {places[target]!r} and {spec!r}; give one"
            )
        places[target] = spec
    return places


def place_of(places: Mapping[str, str], target: str | None, targets: Sequence[str]) -> str | None:
    """Return where a target, one of several, is measured; None where nowhere, RecipeError where that can't be meant."""
    for named in places:
        if named != EVERY and named not in targets:
            known = ", ".join(targets) or "none; add it with --target"
            raise RecipeError(
                f"--device {named}={places[named]} names no target here{did_you_mean(named, targets)}; these are: {known}"
            )
    spec = places.get(target, places.get(EVERY)) if target else places.get(EVERY)
    if spec is not None and spec == places.get(EVERY) and len(targets) > 1 and spec.partition(":")[0] not in BY_PROFILE:
        raise RecipeError(
            f"--device {spec} is one device, and there are {len(targets)} targets; say which: --device {targets[0]}={spec}"
        )
    return spec
