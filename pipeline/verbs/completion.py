"""What the shell offers when Tab is pressed: recipes that ship, targets, devices and codes, by name.

Where no name begins with what was typed the shell completes files, as it always does. `edgepress --install-completion` sets it up.
Tab must not wait: nothing is imported here but the profiles' names, and devices are found by the text of their files.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

PIPELINE = Path(__file__).parents[1]


def recipes(incomplete: str) -> list[str]:
    """Offer the recipes that ship."""
    return _that_begin(incomplete, (path.stem for path in (PIPELINE / "recipes").glob("*.toml")))


def target_names(incomplete: str) -> list[str]:
    """Offer the targets that ship and those of plug-ins."""
    return _that_begin(incomplete, _targets())


def device_names(incomplete: str) -> list[str]:
    """Offer the devices."""
    return _that_begin(incomplete, _devices())


def places(incomplete: str) -> list[str]:
    """Offer devices, and targets to give one to: [TARGET=]SPEC."""
    target, equals, begun = incomplete.partition("=")
    if equals:
        return [f"{target}={name}" for name in device_names(begun)]
    return [*device_names(incomplete), *(f"{name}=" for name in target_names(incomplete))]


def _targets() -> tuple[str, ...]:
    from targets import known_targets  # noqa: PLC0415 - pydantic models of a profile

    return known_targets()


def _devices() -> Iterable[str]:
    """Yield the modules of `devices` that connect to something, none of them imported."""
    found = find_spec("devices")
    folders = found.submodule_search_locations if found else None
    for path in (path for folder in folders or () for path in Path(folder).glob("*.py")):
        if "\ndef connect(" in path.read_text(encoding="utf-8"):
            yield path.stem


def _that_begin(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
