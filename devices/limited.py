"""What a bounded child runs first: set the limits, cut the network, then become the command.

`limited.py CPU_SECONDS MEMORY_BYTES FILE_BYTES OPEN_FILES COMMAND...`, run with `-I -S`, the standard library alone. A preexec_fn
would run between fork and exec, where a threaded parent may hang.

The network is cut by a seccomp filter that refuses socket() and io_uring_setup() with EACCES to this process and all that it starts
(Linux on x86-64 and aarch64, no privilege needed; pairs of sockets between a child's own processes still work). Numbers: the kernel's
include/uapi/linux/{seccomp,filter,audit}.h and the architectures' system call tables.
"""

import ctypes
import os
import resource
import struct
import sys

LOAD, JUMP_EQUAL, JUMP_NOT_BELOW, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000 | 13, 0x80000000
X32 = 0x40000000
IO_URING_SETUP = 425
PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER, SPEC_ALLOW = 1, 4
"""SPEC_ALLOW: kernels before 5.16 would else slow a filtered process down, and latencies are measured in one."""
KERNELS = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
"""Of each architecture: its name in an audit record, and the numbers of socket() and seccomp()."""


def main() -> None:
    """Take the limits from the command line and become the command."""
    cpu, memory, file, files = map(int, sys.argv[1:5])
    limits = {"CPU": cpu, "AS": memory, "FSIZE": file, "NOFILE": files, "CORE": 0}
    for name, limit in limits.items():
        what = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(what)[1]
        allowed = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (allowed, allowed))
    machine = os.uname().machine
    if sys.platform == "linux" and machine in KERNELS:
        cut_network(*KERNELS[machine])
    os.execvp(sys.argv[5], sys.argv[5:])  # noqa: S606 - to become the given command is what this is for


def cut_network(architecture: int, socket: int, seccomp: int) -> None:
    """Refuse sockets to this process and its children from here on; OSError where the kernel has no filters."""
    steps = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_NOT_BELOW, 2, 0, X32),
        (JUMP_EQUAL, 1, 0, IO_URING_SETUP),
        (JUMP_EQUAL, 0, 1, socket),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
    kernel = ctypes.CDLL(None, use_errno=True)
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if kernel.syscall(seccomp, SET_MODE_FILTER, SPEC_ALLOW, program):
        raise OSError(ctypes.get_errno(), "the kernel refuses a filter that cuts the network")


if __name__ == "__main__":
    main()
