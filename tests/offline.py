"""Run a command with the network cut off: in a network namespace of its own, which holds nothing but a loopback.

`python tests/offline.py make test`

Tests of a board by ssh, of a phone by adb and of Ray's workers talk over the loopback. Whoever asks for anything beyond gets "Network is unreachable": that the
tests pass here proves that nothing is fetched and nobody is told. It takes util-linux's `unshare`, and no rights where the system lets users have namespaces.
"""

import errno
import fcntl
import os
import socket
import struct
import sys

INSIDE = "EDGEPRESS_OFFLINE"
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
"""Linux, include/uapi/linux/sockios.h."""
IFF_UP = 1
ELSEWHERE = ("192.0.2.1", 9)
"""An address that belongs to nobody: RFC 5737."""


def main() -> None:
    """Become the command, without a network."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        namespace = ["--net"] if os.geteuid() == 0 else ["--map-root-user", "--net"]
        os.execvp("unshare", ["unshare", *namespace, sys.executable, *sys.argv])  # noqa: S606 - the system's own
    raise_loopback()
    if (found := reach(ELSEWHERE)) != errno.ENETUNREACH:
        sys.exit(f"the network isn't cut: connecting to {ELSEWHERE[0]} gave {errno.errorcode.get(found, found)}")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - to become the given command is what this is for


def raise_loopback() -> None:
    """Switch `lo` on, which a new namespace has switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(asked, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(asked, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def reach(address: tuple[str, int]) -> int:
    """Return the error number of a connection to an address, 0 where it succeeds."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as asked:
        asked.settimeout(5)
        return asked.connect_ex(address)


if __name__ == "__main__":
    main()
