"""Doctor: what of this machine and this installation keeps edgepress from working, or its figures from being worth something.

Nothing is imported that is heavy, started, written or fetched: packages are judged by their metadata, tools by being there.
The names come first, since a strange `targets` or `devices` would be imported in the place of ours by what follows.
"""

from pipeline.doctor import machine, names, packages, places
from pipeline.doctor.finding import Finding

__all__ = ["Finding", "examine"]


def examine() -> tuple[Finding, ...]:
    """Return all that was looked at, in the order in which it is told."""
    named = tuple(names.findings())
    found = [*packages.findings(), *named]
    found += places.findings()
    if all(finding.verdict != "wrong" for finding in named):
        from pipeline.doctor import tools  # noqa: PLC0415 - it imports our `devices`, which must be ours

        found += tools.findings()
    return (*found, *machine.findings(), *packages.extras())
