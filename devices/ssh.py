"""A board over ssh: ssh://user@host[:port][?cores=2,3&python=/path&key=FILE&known_hosts=FILE&keep=1].

By asyncssh, which reads ~/.ssh/config, the agent and the keys as OpenSSH does. The host's key is always verified: an unknown or
a changed one is an error that says what to do, and a configuration that switches the check off is refused. No password is
ever asked for. Files go by `cat` on the board, since small systems have no sftp. The event loop runs in a thread of its own, so
that a caller may have one too.
"""

import asyncio
import getpass
import shlex
import socket
import time
from collections.abc import Coroutine
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from devices.board import MOST_OUTPUT_BYTES, Board, LinkLostError
from devices.python_board import PythonBoard
from devices.sandbox import Finished, explain
from devices.spec import read_cores, read_path, read_switch, split_options
from pipeline.errors import DeviceError, MissingExtraError
from targets import Target

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")
OPTIONS = ("cores", "python", "key", "known_hosts", "keep")
FOLDER = ".cache/edgepress"
"""In the user's home on the board."""
CONNECT_SECONDS = 20.0
KEEPALIVE_SECONDS, KEEPALIVE_MISSES = 5, 3
"""A link that answers nothing for 15 s is broken."""
BLOCK = 2**16


class SshLink:
    """One connection; opened when it is made."""

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.name = name
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        try:
            self._connection = self._wait(_connect(name, options))
        except BaseException:
            self._stop()
            raise

    def execute(self, command: str, *, seconds: float) -> Finished:
        """Run a line of shell with an open standard input."""
        return self._wait(_execute(self._connection, command, seconds, self.name))

    def push(self, source: Path, destination: str, *, seconds: float) -> None:
        """Write a file there."""
        try:
            content = source.read_bytes()
        except OSError as error:
            raise DeviceError(f"can't read {source} ({error.strerror})") from error
        command = shlex.join(["sh", "-c", 'umask 077; cat >"$1"', "sh", destination])
        finished = self._wait(_execute(self._connection, command, seconds, self.name, content))
        if not finished.ok:
            raise DeviceError(f"{self.name}: can't write {source.name} there: it {explain(finished)}")

    def close(self) -> None:
        """End the connection and its thread."""
        try:
            self._wait(_close(self._connection))
        finally:
            self._stop()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def connect(spec: str, _target: Target | None) -> PythonBoard:
    """Return the board of a spec; nothing is connected yet."""
    head, options = split_options(spec, OPTIONS)
    user, host, port = _read_address(head)
    name = f"ssh://{user + '@' if user else ''}{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
    given: dict[str, Any] = {"host": host}
    given |= {"username": user} if user else {}
    given |= {"port": port} if port else {}
    given |= {"client_keys": [str(read_path(options["key"], head))]} if "key" in options else {}
    given |= {"known_hosts": str(read_path(options["known_hosts"], head))} if "known_hosts" in options else {}
    keep = read_switch(options.get("keep"), "keep", spec)
    return PythonBoard(
        name,
        lambda: Board(name, partial(SshLink, name, given), folder=FOLDER, keep=keep),
        python=options.get("python", "python3"),
        cores=read_cores(options["cores"], spec) if "cores" in options else (),
    )


def state() -> str:
    """Say in a few words whether it can be used."""
    try:
        return f"asyncssh {version('asyncssh')}"
    except PackageNotFoundError:
        return "needs asyncssh: pip install 'edgepress[boards]'"


def _read_address(head: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(head)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise DeviceError(f"no device {head!r} ({error}); write ssh://user@host:port") from error
    if parts.scheme != "ssh" or not host or parts.password or parts.path not in ("", "/") or parts.fragment:
        raise DeviceError(
            f"no device {head!r}; write ssh://user@host, or ssh://user@host:port; keys stand for passwords"
        )
    return unquote(parts.username or ""), host, port


async def _connect(name: str, given: dict[str, Any]) -> "asyncssh.SSHClientConnection":
    ssh = _asyncssh()
    _local_user()
    address = {key: value for key, value in given.items() if key != "host"}
    try:
        options = ssh.SSHClientConnectionOptions(
            host=given["host"],
            config=(),  # the user's own; without this, none is read here
            connect_timeout=CONNECT_SECONDS,
            login_timeout=CONNECT_SECONDS,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_MISSES,
            preferred_auth="publickey",
            **address,
        )
        if options.known_hosts is None:
            raise DeviceError(
                f"{name}: ~/.ssh/config switches the check of the host's key off (UserKnownHostsFile none); edgepress never does: give ?known_hosts=FILE"
            )
        connection: asyncssh.SSHClientConnection = await ssh.connect(
            given["host"], given.get("port", ()), options=options
        )
    except (ssh.Error, ssh.KeyImportError, OSError, ValueError, TimeoutError) as error:
        raise DeviceError(_why_not_connected(name, given, error)) from error
    return connection


def _why_not_connected(name: str, given: dict[str, Any], error: Exception) -> str:
    ssh = _asyncssh()
    login = f"{given.get('username') or _local_user()}@{given['host']}"
    by_hand = f"ssh {'-p ' + str(given['port']) + ' ' if given.get('port') else ''}{login}"
    if isinstance(error, ssh.HostKeyNotVerifiable):
        return (
            f"{name}: the host's key is not the one known for it, or none is known ({error.reason}); compare fingerprints at the board "
            f"(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then connect once by hand: {by_hand}"
        )
    advice = {
        ssh.PermissionDenied: "none of our keys is taken there; put yours there with ssh-copy-id, or give ?key=FILE; an encrypted one goes into ssh-agent",
        ssh.KeyImportError: f"the key can't be used ({error}); an encrypted one goes into ssh-agent: ssh-add FILE",
        socket.gaierror: f"no host {given['host']!r} is known; see whether {by_hand} works",
        TimeoutError: f"no answer within {CONNECT_SECONDS:.0f} s; see whether the board is on, and {by_hand} works",
        FileNotFoundError: f"no file {getattr(error, 'filename', '')}; give the path of a key or of known hosts",
        OSError: f"can't connect ({getattr(error, 'strerror', None) or error}); see whether {by_hand} works",
    }
    why = next(
        (text for kind, text in advice.items() if isinstance(error, kind)),
        f"can't connect ({error}); see whether {by_hand} works",
    )
    return f"{name}: {why}"


def _local_user() -> str:
    """Return the name of who asks, which asyncssh wants even where the board's user is named."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise DeviceError(
            "nobody's name belongs to this process's user here, as in many a container, and ssh needs one; set LOGNAME, and name the "
            "board's user: ssh://USER@host"
        ) from error


async def _execute(
    connection: "asyncssh.SSHClientConnection", command: str, seconds: float, name: str, given: bytes | None = None
) -> Finished:
    ssh = _asyncssh()
    started = time.monotonic()
    try:
        process = await connection.create_process(command, encoding=None)
    except (ssh.Error, OSError) as error:
        raise LinkLostError(str(error) or "the connection ended") from error
    try:
        async with asyncio.timeout(seconds):
            outputs = await asyncio.gather(
                _bounded(process.stdout, name), _bounded(process.stderr, name), _give(process.stdin, given)
            )
            await process.wait_closed()
    except TimeoutError:
        return Finished(-9, "", "", timed_out=True, seconds=time.monotonic() - started)
    except (ssh.Error, OSError) as error:
        raise LinkLostError(str(error) or "the connection ended") from error
    finally:
        process.close()
    if process.exit_status is None and process.exit_signal is None:
        raise LinkLostError("the connection ended")
    out, err, _ = outputs
    code = process.returncode if process.returncode is not None else -9
    return Finished(code, out, err, timed_out=False, seconds=time.monotonic() - started)


async def _bounded(reader: "asyncssh.SSHReader[bytes]", name: str) -> str:
    parts: list[bytes] = []
    while block := await reader.read(BLOCK):
        parts.append(block)
        if sum(map(len, parts)) > MOST_OUTPUT_BYTES:
            raise DeviceError(
                f"{name}: a program there printed more than {MOST_OUTPUT_BYTES // 2**20} MiB and was stopped"
            )
    return b"".join(parts).decode(errors="replace")


async def _give(writer: "asyncssh.SSHWriter[bytes]", given: bytes | None) -> None:
    """Write to the program's standard input and end it; leave it open where there is nothing to write."""
    if given is not None:
        for start in range(0, len(given), BLOCK):
            writer.write(given[start : start + BLOCK])
            await writer.drain()
        writer.write_eof()


async def _close(connection: "asyncssh.SSHClientConnection") -> None:
    connection.close()
    try:
        async with asyncio.timeout(KEEPALIVE_SECONDS):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


def _asyncssh() -> Any:
    try:
        import asyncssh  # noqa: PLC0415  # takes a third of a second, and belongs to an extra
    except ImportError as error:
        raise MissingExtraError("a board over ssh needs asyncssh; pip install 'edgepress[boards]'") from error
    return asyncssh
