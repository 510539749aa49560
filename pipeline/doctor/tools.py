"""Tools: what the devices reach boards with, and whether the emulated Arm is set up."""

import os
import platform
import shutil
from collections.abc import Iterator

from devices.arm.userland import HOW_TO_SET_UP, expected
from pipeline.doctor.finding import Finding
from pipeline.errors import DeviceError

PROGRAMS = {
    "adb": ("phones can't be reached", "on Debian: apt-get install adb"),
    "ssh": (
        "only ssh's own tools are missing: the device `ssh` brings its client",
        "on Debian: apt-get install openssh-client",
    ),
}
"""Programs that are looked for, what their absence means, and what brings them."""
COMPILERS = ("cc", "gcc", "clang")


def findings() -> Iterator[Finding]:
    """Say which tools are there."""
    for name, (without, advice) in PROGRAMS.items():
        place = shutil.which(name)
        yield Finding(name, place) if place else Finding(name, f"none: {without}", "note", advice)
    yield _emulated_arm()


def _emulated_arm() -> Finding:
    about = "emulated Arm"
    try:
        place = expected()
    except DeviceError as error:
        return Finding(about, str(error), "note", "set EDGEPRESS_CACHE")
    if place.complete:
        return Finding(about, f"set up, QEMU {place.qemu_version}")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return Finding(about, "not set up", "note", "it can be set up on Linux on x86-64 only")
    compiler = next(filter(shutil.which, filter(None, (os.environ.get("CC"), *COMPILERS))), None)
    missing = "" if compiler else "apt-get install gcc libc6-dev, then "
    found = "not set up" if compiler else "not set up, and no C compiler, which its counter needs"
    return Finding(about, found, "note", f"{missing}{HOW_TO_SET_UP}, for --device qemu")
