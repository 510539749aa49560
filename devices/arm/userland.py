"""The Arm userland in the cache: where its parts lie, and how a guest is started in it.

The cache folder is EDGEPRESS_CACHE, or the system's own for edgepress. A userland's name is a digest of all that it is made
from (packages, wheels, the plug-in's source), so that a newer edgepress never runs with an older one's counter. QEMU is started
by its own loader with its own libraries: the host's C library plays no part.

A guest is not hidden from the host: its system calls are the host's, so that the limits of `devices/sandbox.py` hold for it as
for any other child. QEMU reserves 4 GiB of address space for a 32-bit guest, half of what the sandbox allows. The guest's
Python reads no site packages, its own or those that a path of the host would show it (`-S`).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import platformdirs

from devices.arm import debian, wheels
from devices.sandbox import Finished, Limits, run_bounded
from pipeline.errors import DeviceError

HOW_TO_SET_UP = "edgepress devices --setup qemu"
RECORD = "setup.json"
PLUGIN_SOURCE = files("devices.arm").joinpath("edgecount.c").read_text(encoding="utf-8")
HOST_PACKAGES = (
    *(
        "qemu-user",
        "libc6",
        "libcapstone4",
        "libgcc-s1",
        "libglib2.0-0",
        "libgnutls30",
        "libnuma1",
        "liburing2",
        "zlib1g",
    ),
    *(
        "libpcre2-8-0",
        "libp11-kit0",
        "libidn2-0",
        "libunistring2",
        "libtasn1-6",
        "libnettle8",
        "libhogweed6",
        "libgmp10",
    ),
    "libffi8",
)
"""QEMU and the libraries that it links."""
GUEST_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
    *("zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libuuid1"),
)
"""Python and what it links."""
ARMHF_PACKAGES = ("python3-numpy", "libblas3", "liblapack3", "libgfortran5")
"""numpy for 32 bits, of which no wheel is made."""
PACKAGES = (
    *(f"{name}:amd64" for name in HOST_PACKAGES),
    *(f"{name}:arm64" for name in GUEST_PACKAGES),
    *(f"{name}:armhf" for name in (*GUEST_PACKAGES, *ARMHF_PACKAGES)),
)
LIBRARIES = "lib/x86_64-linux-gnu"
ARMHF_LIBRARIES = "usr/lib/arm-linux-gnueabihf"
NUMPY_32 = "usr/lib/python3/dist-packages"
ROOTS = {32: "armhf", 64: "arm64"}
QEMU = {32: "qemu-arm", 64: "qemu-aarch64"}
SPECIAL = frozenset(",:\n")
"""What QEMU and the loader take for a separator."""


@dataclass(frozen=True)
class Userland:
    """A folder that the set-up filled."""

    folder: Path

    @property
    def complete(self) -> bool:
        """Whether the set-up ran to its end here."""
        return (self.folder / RECORD).is_file()

    @property
    def qemu_version(self) -> str:
        """The version of the Debian package."""
        record = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        return str(record["qemu"])

    def run(
        self,
        prefix: Path,
        arguments: Sequence[str],
        *,
        bits: int,
        cpu: str,
        plugin: Sequence[str] = (),
        keep_compiled: bool = False,
        limits: Limits | None = None,
    ) -> Finished:
        """Run the guest's Python; `prefix` is a root that `lay_root` made, `plugin` the counter's arguments, if it counts.

        `keep_compiled` leaves compiled modules in the userland: to compile them takes an emulated processor 11 s a start.
        """
        host = self.folder / "host"
        libraries = f"{host / LIBRARIES}:{host / 'usr' / LIBRARIES}"
        command = [str(host / LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", libraries]
        command += [str(host / "usr" / "bin" / QEMU[bits]), "-L", str(prefix), "-cpu", cpu]
        if plugin:
            command += ["-plugin", ",".join([str(self.folder / "edgecount.so"), *plugin])]
        command += ["-U", "LD_LIBRARY_PATH", *self._guest_environment(prefix, bits)]
        command += [str(prefix / "usr/bin/python3.11"), "-P", "-S", *([] if keep_compiled else ["-B"])]
        return run_bounded([*command, *arguments], limits=limits)

    def lay_root(self, prefix: Path, bits: int) -> None:
        """Make a folder a guest's root: links to the shared one, beside which an overlay may be written."""
        prefix.mkdir(parents=True, exist_ok=True)
        root = self.folder / ROOTS[bits]
        for name in ("etc", "lib", "usr"):
            (prefix / name).symlink_to(root / name)

    def _guest_environment(self, prefix: Path, bits: int) -> list[str]:
        modules = [str(self.folder / f"modules{bits}")]
        given = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
        if bits == 32:
            modules.append(str(prefix / NUMPY_32))
            # Debian's alternatives would link these two; their scripts never ran. QEMU 7.2 finds no folder in its prefix for
            # statx, by which the guest's loader looks for them, so that they are named where they really lie.
            given["LD_LIBRARY_PATH"] = ":".join(f"{prefix / ARMHF_LIBRARIES / name}" for name in ("blas", "lapack"))
        given["PYTHONPATH"] = ":".join(modules)
        return [word for name, value in given.items() for word in ("-E", f"{name}={value}")]


def userland() -> Userland:
    """Return the userland of this version of edgepress; DeviceError when it isn't set up."""
    found = expected()
    if not found.complete:
        raise DeviceError(f"qemu isn't set up in {found.folder.parent}; run once: {HOW_TO_SET_UP}")
    return found


def expected() -> Userland:
    """Return where the userland of this version of edgepress lies, or would lie."""
    folder = cache_folder()
    if SPECIAL & set(str(folder)):
        raise DeviceError(
            f"qemu can't live in {str(folder)!r}: its path may hold no ',' and no ':'; set EDGEPRESS_CACHE"
        )
    return Userland(folder / f"qemu-{identity()}")


def cache_folder() -> Path:
    """Return EDGEPRESS_CACHE, or the system's own place for edgepress."""
    return Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_dir("edgepress")).absolute()


def identity() -> str:
    """Return the digest of all that a userland is made from, shortened."""
    parts = [debian.SUITE, *PACKAGES, *(text for _, text in sorted(wheels.LOCKED.items())), PLUGIN_SOURCE]
    return sha256("\n".join(parts).encode()).hexdigest()[:12]
