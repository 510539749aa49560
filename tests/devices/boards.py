"""Boards for the tests: a real sshd on loopback whose home is a folder, a line to it that can be cut, and a fake Python there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from devices.arm.userland import expected

SSHD_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv SHLVL=2
ForceCommand echo Welcome; cd {home} && HOME={home} PATH={home}/bin:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"
"""
SFTP_CONFIG = SSHD_CONFIG.partition("ForceCommand")[0] + "Subsystem sftp internal-sftp\n"
"""A server of files instead of a board."""

PROBED = {
    "python": [3, 11, 2],
    "packages": {"numpy": "1.26.4", "ai-edge-litert": "2.3.0", "onnxruntime": "1.31.1"},
    "board": "Fake Pi 4 Model B",
    "system": "Linux",
    "arch": "aarch64",
    "cores": [0, 1, 2, 3],
    "clocks": [600000, 600000, 1500000, 1500000],
}
REPORT = {
    "samples_us": [100.0, 101.0, 102.0],
    "cpu_over_wall": 1.0,
    "neighbours_busy": None,
    "runtime": "litert",
    "runtime_version": "2.3.0",
}


ARM_PYTHON = """
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from devices.arm.overlay import write_overlay
from devices.arm.userland import userland
from targets import load_target

target = load_target("raspberry-pi-4")
with TemporaryDirectory() as folder:
    userland().lay_root(Path(folder), 64)
    write_overlay(Path(folder), target, target.emulation)
    done = userland().run(Path(folder), sys.argv[1:], bits=64, cpu=target.emulation.qemu_cpu)
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
sys.exit(done.code)
"""


@dataclass
class SshBoard:
    """A board: `home` is what is on it, `port` reaches it straight."""

    folder: Path
    home: Path
    port: int

    def spec(self, options: str = "", *, port: int = 0, python: str = "") -> str:
        reached = port or self.port
        given = f"key={self.folder}/user_key&known_hosts={self.known_hosts(reached)}&python={python or sys.executable}"
        return f"ssh://127.0.0.1:{reached}?{given}{'&' if options else ''}{options}"

    def known_hosts(self, port: int = 0) -> Path:
        """Return a file that says which key the board has."""
        known = self.folder / "known_hosts"
        entry = (self.folder / "host_key.pub").read_text(encoding="ascii").split()
        known.write_text(f"[127.0.0.1]:{port or self.port} {entry[0]} {entry[1]}\n", encoding="ascii")
        return known

    def left(self) -> list[str]:
        """Return the files that are on the board, without its own programs."""
        return sorted(
            str(path.relative_to(self.home))
            for path in self.home.rglob("*")
            if path.parts[-2] != "bin" and path.is_file()
        )

    def model_is_at_work(self) -> bool:
        return any(self.home.glob(".cache/edgepress/*.pid"))

    def install(self, name: str, script: str) -> str:
        """Put a shell script onto the board and return its path."""
        path = self.home / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return str(path)

    def fake_python(
        self, run: str = "", *, probed: dict[str, object] | None = None, report: dict[str, object] | None = None
    ) -> str:
        """Put a Python there that answers the probe, and for the runner does `run` and prints a report."""
        said = json.dumps({**PROBED, **(probed or {})})
        told = json.dumps({**REPORT, **(report or {})}).removesuffix("}")
        model = 'for given in "$@"; do case "$given" in */model) model=${given#--model=};; esac; done'
        digest = f'{model}; sha=$(sha256sum "$model" | cut -c 1-64)'
        answer = f"""echo '{told}, "model_sha256": "'$sha'"}}'"""
        return self.install(
            "fake_python", f"if [ \"$1\" = -c ]; then echo '{said}'; exit; fi\n{run}\n{digest}\n{answer}"
        )

    def arm_python(self, log: Path | None = None) -> str:
        """Put a Python there that runs as an emulated Arm core; `log` is told when it begins and ends to run a model."""
        (self.folder / "arm_python.py").write_text(ARM_PYTHON, encoding="utf-8")
        run = f'EDGEPRESS_CACHE={expected().folder.parent} {sys.executable} -P {self.folder}/arm_python.py "$@"'
        note = f'note() {{ [ "$model" = -c ] || echo "$1 $(date +%s.%N)" >>{log}; }}' if log else "note() { :; }"
        return self.install("arm_python", f"model=$1\n{note}\nnote start\n{run}\ncode=$?\nnote end\nexit $code")


@contextmanager
def ssh_board(folder: Path, settings: str = SSHD_CONFIG) -> Iterator[SshBoard]:
    """Run an sshd of our own until the end of the block."""
    home = folder / "home"
    home.mkdir(parents=True)
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd shuts itself in before a login; a running system has it
    port = _free_port()
    config = folder / "sshd_config"
    config.write_text(settings.format(port=port, folder=folder, home=home), encoding="utf-8")
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert sshd is not None, "the tests need sshd: apt-get install openssh-server"
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=log) as server,
    ):
        try:
            until(lambda: _listens(port))
            yield SshBoard(folder, home, port)
        finally:
            server.terminate()


class Line:
    """A way to a port of this machine that can be cut: every connection through it ends at once."""

    def __init__(self, port: int) -> None:
        self._target, self._open = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Cut the line; a new connection works again."""
        ends, self._open = self._open, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_when(self, happens: Callable[[], object], times: int, *, for_good: bool = False) -> threading.Thread:
        """Cut it each time something becomes true, so many times; `for_good` for once and all."""

        def watch() -> None:
            for _ in range(times):
                until(happens)
                if for_good:
                    self.close()
                self.cut()
                until(lambda: not happens())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def running(text: str) -> list[int]:
    """Return the processes whose command line holds a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def gone(text: str) -> bool:
    """Wait until no process holds a text in its command line."""
    return until(lambda: not running(text))


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while block := one.recv(2**16):
            other.sendall(block)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    one.close()


def until(happens: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.005)
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
