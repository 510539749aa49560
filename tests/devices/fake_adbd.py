"""The device's side of adb, for the tests: a phone that is a folder, reached over TCP on loopback by the real client.

It speaks the transport's CNXN, AUTH, OPEN, OKAY, WRTE and CLSE, shell (v2 with exit codes), and sync's STAT, SEND (Android's
packages/modules/adb: protocol.txt, SYNC.TXT, shell_protocol.h). A command runs in the folder, with its system/bin first in the
PATH and /data/local/tmp inside it; when its stream ends it gets SIGHUP and the end of its standard input, as from adbd
(shell_service.cpp). It can refuse the computer's key, and cut the line while a certain command runs.
"""

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
VERSION, MOST_PAYLOAD = 0x01000001, 2**18
BANNER = b"device::ro.product.name=fake;ro.product.model=fake_phone;ro.product.device=fake;features="
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
TEMPORARY = "/data/local/tmp"


class FakePhone:
    """A phone whose storage is `root`; `cut_at` is a piece of a command's text, `cuts` how many such commands lose the line.

    Before Android 7, `features` held no "shell_v2": outputs came mixed and without an exit code.
    """

    def __init__(self, root: Path, *, features: str = "shell_v2") -> None:
        self.root, self.features, self.authorised = root, features, True
        self.cut_at, self.cuts, self.cut_after = "", 0, 0.3
        self.commands: list[str] = []
        (root / "data/local/tmp").mkdir(parents=True)
        (root / "system/bin").mkdir(parents=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lines: list[Line] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def install(self, name: str, script: str) -> None:
        """Put a shell script into system/bin."""
        path = self.root / "system/bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def cut(self) -> None:
        """Cut the line."""
        for line in self.lines:
            line.cut()

    def close(self) -> None:
        """Switch the phone off."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def left(self) -> list[str]:
        """Return the files that are on it, without its own programs."""
        return sorted(str(path.relative_to(self.root)) for path in (self.root / "data").rglob("*") if path.is_file())

    def local(self, path: str) -> Path:
        return self.root / path.removeprefix(str(self.root)).lstrip("/")

    def command(self, text: str) -> list[str]:
        self.commands.append(text)
        return ["sh", "-c", text.replace(TEMPORARY, f"{self.root}{TEMPORARY}")]

    def wants_cut(self, text: str) -> bool:
        if self.cut_at and self.cut_at in text and self.cuts > 0:
            self.cuts -= 1
            return True
        return False

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                found, _ = self._listener.accept()
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = Line(self, found)
                self.lines.append(line)
                threading.Thread(target=line.serve, daemon=True).start()


class Line:
    """One connection of the adb server, with its streams."""

    def __init__(self, phone: FakePhone, link: socket.socket) -> None:
        self.phone, self.link = phone, link
        self.streams: dict[int, Stream] = {}
        self.lock = threading.Lock()

    def send(self, what: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", what, first, second, len(data), sum(data) & 0xFFFFFFFF, what ^ 0xFFFFFFFF)
        with self.lock, suppress(OSError):
            self.link.sendall(head + data)

    def cut(self) -> None:
        with suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                what, first, second, size, _, _ = struct.unpack("<6I", self._receive(24))
                self._take(what, first, second, self._receive(size))
        self.link.close()
        for stream in list(self.streams.values()):
            stream.end()

    def _take(self, what: int, first: int, second: int, data: bytes) -> None:
        if what == CNXN and self.phone.authorised:
            self.send(CNXN, VERSION, MOST_PAYLOAD, BANNER + self.phone.features.encode())
        elif what == CNXN or (what == AUTH and first != 3):  # 3: the public key, to be shown to the phone's owner
            self.send(AUTH, 1, 0, os.urandom(20))
        elif what == OPEN:
            number = max(self.streams, default=0) + 1
            self.streams[number] = Stream(self, number, first)
            threading.Thread(target=self.streams[number].run, args=(data.rstrip(b"\0").decode(),), daemon=True).start()
        elif what == WRTE and second in self.streams:
            self.streams[second].feed(data)
            self.send(OKAY, second, first)
        elif what == OKAY and second in self.streams:
            self.streams[second].taken.set()
        elif what == CLSE and second in self.streams:
            self.streams.pop(second).end()

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            block = self.link.recv(size - len(data))
            if not block:
                raise EOFError
            data += block
        return data


class Stream:
    """One service that the client opened."""

    def __init__(self, line: Line, number: int, peer: int) -> None:
        self.line, self.number, self.peer = line, number, peer
        self.taken, self.turn = threading.Event(), threading.Lock()
        self.given, self.more, self.ended = b"", threading.Condition(), False
        self.child: subprocess.Popen[bytes] | None = None

    def feed(self, data: bytes) -> None:
        with self.more:
            self.given += data
            self.more.notify()

    def end(self) -> None:
        with self.more:
            self.ended = True
            self.more.notify()
        self.taken.set()
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(signal.SIGHUP)

    def run(self, service: str) -> None:
        self.line.send(OKAY, self.number, self.peer)
        kind, _, text = service.partition(":")
        with suppress(EOFError):
            if kind.startswith("shell"):
                self._shell(text, framed="v2" in kind)
            elif kind == "sync":
                self._cut_if_wanted(service)
                self._sync()
        self.line.send(CLSE, self.number, self.peer)

    def _cut_if_wanted(self, service: str) -> None:
        if self.line.phone.wants_cut(service):
            threading.Timer(self.line.phone.cut_after, self.line.cut).start()

    def _shell(self, text: str, *, framed: bool) -> None:
        phone = self.line.phone
        environment = {**os.environ, "PATH": f"{phone.root}/system/bin:{os.environ['PATH']}", "HOME": str(phone.root)}
        pipes = subprocess.PIPE
        self.child = subprocess.Popen(
            phone.command(text),
            cwd=phone.root,
            env=environment,
            stdin=pipes,
            stdout=pipes,
            stderr=pipes,
            start_new_session=True,
        )
        self._cut_if_wanted(text)
        with self.child as child:
            pumps = [
                threading.Thread(target=self._pump, args=(number, pipe, framed), daemon=True)
                for number, pipe in ((STDOUT, child.stdout), (STDERR, child.stderr))
            ]
            feeding = threading.Thread(target=self._feed_child, args=(framed,), daemon=True)
            for thread in (*pumps, feeding):
                thread.start()
            for thread in pumps:
                thread.join()
            code = child.wait()
            if framed:
                self._write(struct.pack("<BIB", EXIT, 1, code % 256))
            self.end()
            feeding.join()

    def _pump(self, number: int, pipe: IO[bytes], framed: bool) -> None:  # noqa: FBT001  # a thread's target
        with suppress(EOFError, OSError):
            while block := os.read(pipe.fileno(), 2**15):
                self._write(struct.pack("<BI", number, len(block)) + block if framed else block)

    def _feed_child(self, framed: bool) -> None:  # noqa: FBT001  # a thread's target
        child = self.child
        assert child is not None
        assert child.stdin is not None
        with suppress(EOFError, OSError):
            while True:
                number, size = struct.unpack("<BI", self._read(5)) if framed else (STDIN, 1)
                block = self._read(size)
                if number == CLOSE_STDIN:
                    break
                child.stdin.write(block)
                child.stdin.flush()
        with suppress(OSError):
            child.stdin.close()

    def _sync(self) -> None:
        while True:
            kind, size = self._read(4), struct.unpack("<I", self._read(4))[0]
            if kind == b"QUIT":
                return
            asked = self._read(size).decode()
            if kind == b"STAT":
                self._write(b"STAT" + self._stat(self.line.phone.local(asked)))
            elif kind == b"SEND":
                self._take_file(asked)

    def _stat(self, path: Path) -> bytes:
        try:
            found = path.stat()
        except OSError:
            return struct.pack("<3I", 0, 0, 0)
        return struct.pack("<3I", found.st_mode, found.st_size, int(found.st_mtime))

    def _take_file(self, asked: str) -> None:
        name, _, mode = asked.rpartition(",")
        path, content = self.line.phone.local(name), b""
        while (kind := self._read(4)) == b"DATA":
            content += self._read(struct.unpack("<I", self._read(4))[0])
        assert kind == b"DONE"
        self._read(4)  # the time of its last change
        try:
            path.write_bytes(content)
            path.chmod(int(mode) & 0o777)
        except OSError as error:
            why = str(error.strerror).encode()
            self._write(b"FAIL" + struct.pack("<I", len(why)) + why)
        else:
            self._write(b"OKAY" + struct.pack("<I", 0))

    def _read(self, size: int) -> bytes:
        with self.more:
            while len(self.given) < size:
                if self.ended:
                    raise EOFError
                self.more.wait()
            block, self.given = self.given[:size], self.given[size:]
            return block

    def _write(self, data: bytes) -> None:
        with self.turn:
            if self.ended:
                raise EOFError
            self.taken.clear()
            self.line.send(WRTE, self.number, self.peer, data)
            self.taken.wait(30)


@contextmanager
def adb_server(home: Path) -> Iterator[None]:
    """Run an adb server of our own, on a port and with a home of its own, and end it: the user's is left alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    kept = {name: os.environ.get(name) for name in ("ANDROID_ADB_SERVER_PORT", "HOME", "ANDROID_SERIAL")}
    os.environ.update(ANDROID_ADB_SERVER_PORT=port, HOME=str(home))
    os.environ.pop("ANDROID_SERIAL", None)
    try:
        client("start-server")
        yield
    finally:
        client("kill-server")
        for name, value in kept.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def client(*arguments: str) -> str:
    """Run the adb client and return what it printed."""
    done = subprocess.run(["adb", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
