"""Packages: do the versions that are installed suit each other, and which extras are there?

The ranges are those that edgepress's own metadata states, and those of the packages that it asks for; nothing is imported.
"""

import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from pipeline.doctor.finding import Finding

OURS = "edgepress"
FOR_DEVELOPERS = "test"
ADDS = {
    "compress": "run, fit, explain and teachers: what trains, prunes, quantises and converts",
    "tensorflow": "teachers that are Keras files",
    "neural-compressor": "Intel's Neural Compressor as an engine and a baseline",
    "boards": "the devices ssh, vela and tflm",
    "fit": "the search for the cheapest network that keeps a budget",
    "ledger": "energy and CO2e of a run",
    "mlflow": "--log mlflow",
    "tensorboard": "--log tensorboard",
    "report": "report.html at the end of a run, and the verb report",
    "scale": "--workers and --cluster, by Ray",
    "demo": "the built-in recipes",
    "sign": "signatures of archives: pack and verify with --key",
}
"""What each extra of pyproject.toml is for."""
BAD_PAIRS = {
    ("onnxruntime", "onnxruntime-gpu"): (
        "both install a module `onnxruntime`, and the second overwrites the first (onnxruntime.ai/docs/install: only one of these packages)",
        "pip uninstall both, then pip install onnxruntime",
    ),
    ("tensorflow", "tensorflow-cpu"): (
        "both install a module `tensorflow`, and the second overwrites the first",
        "pip uninstall both, then pip install tensorflow-cpu",
    ),
}
"""Distributions that spoil each other, which no range can say."""


def findings() -> Iterator[Finding]:
    """Judge Python, and every package that edgepress may use."""
    if _version(OURS) is None:
        yield Finding(OURS, "no metadata: it runs from a folder that isn't installed", "wrong", "pip install . there")
        return
    yield _python()
    clashes = [*_clashes(), *_bad_pairs()]
    yield from clashes
    if not clashes:
        count = len({_name(asked) for asked in _everything() if _version(_name(asked))})
        yield Finding("packages", f"{OURS} {_version(OURS)}; {count} that it may use, each within every range")


def extras() -> Iterator[Finding]:
    """Say of each extra whether it is installed, and if not, what it would add."""
    if _version(OURS) is None:
        return
    for extra in _extras():
        asked = sorted({_name(each) for each in needs(OURS, extra)})
        missing = [name for name in asked if _version(name) is None]
        if not missing:
            yield Finding(f"extra {extra}", f"installed: {len(asked)} package{'s' * (len(asked) > 1)}")
            continue
        found = "not installed" if len(missing) == len(asked) else f"lacks {', '.join(missing)}"
        yield Finding(f"extra {extra}", found, "note", f"pip install '{OURS}[{extra}]' adds {ADDS.get(extra, extra)}")


@cache
def needs(distribution: str, extra: str = "") -> tuple[Requirement, ...]:
    """Return what a distribution asks for on this machine: always, or only with one of its extras."""
    found: list[Requirement] = []
    for text in _asked(distribution):
        if bool(extra) != ("extra ==" in text):
            continue
        with suppress(InvalidRequirement):  # what another's metadata says is not ours to mend
            asked = Requirement(text)
            if asked.marker and not asked.marker.evaluate({"extra": extra}):
                continue
            if _name(asked) == distribution:
                found += [each for further in asked.extras for each in needs(distribution, further)]
            else:
                found.append(asked)
    return tuple(found)


@cache
def _asked(distribution: str) -> tuple[str, ...]:
    return tuple(requires(distribution) or ())


def _python() -> Finding:
    allowed = metadata(OURS)["Requires-Python"] or ""
    here = platform.python_version()
    if SpecifierSet(allowed).contains(here, prereleases=True):
        return Finding("Python", here)
    return Finding("Python", here, "wrong", f"{OURS} needs Python {allowed}; make an environment with that")


def _clashes() -> Iterator[Finding]:
    """Yield what is missing or of a version that edgepress, or a package that it asks for, doesn't allow."""
    asked = dict.fromkeys(_everything())
    for each in asked:
        yield from _judge(OURS, each)
    for name in dict.fromkeys(map(_name, asked)):
        for each in needs(name) if _version(name) else ():
            yield from _judge(name, each)


def _judge(by: str, asked: Requirement) -> Iterator[Finding]:
    """Yield what is wrong with an installed package; one that isn't there only matters to the light install."""
    name, wanted = _name(asked), f"{asked.name}{asked.specifier}"
    found = _version(name)
    if found is None:
        if by == OURS and name in {_name(each) for each in needs(OURS)}:
            yield Finding(name, "not installed", "wrong", f"{by} needs it; pip install '{wanted}'")
    elif not _allows(asked.specifier, found):
        yield Finding(name, found, "wrong", f"{by} {_version(by)} needs {wanted}; pip install '{wanted}'")


def _allows(range_: SpecifierSet, found: str) -> bool:
    try:
        return range_.contains(found, prereleases=True)
    except InvalidVersion:
        return False


def _bad_pairs() -> Iterator[Finding]:
    for pair, (why, advice) in BAD_PAIRS.items():
        if all(_version(name) for name in pair):
            found = " beside ".join(f"{name} {_version(name)}" for name in pair)
            yield Finding(pair[0], found, "wrong", f"{why}; {advice}")


def _everything() -> Iterator[Requirement]:
    yield from needs(OURS)
    for extra in _extras():
        yield from needs(OURS, extra)


def _extras() -> list[str]:
    return [extra for extra in metadata(OURS).get_all("Provides-Extra") or () if extra != FOR_DEVELOPERS]


def _name(asked: Requirement) -> str:
    return canonicalize_name(asked.name)


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
