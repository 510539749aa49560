"""Packages of one Debian suite, fetched and unpacked beside the host's own, whose dpkg never hears of them.

apt gets a configuration of its own: private lists, cache and state, three architectures, and the host's mirrors with their
suite replaced, so that a Debian 13 host gives the same QEMU as a Debian 12 one. What may be replaced is a line of the host's
sources that names a suite of Debian itself and "main". apt verifies the archive's signature with the host's keyring, and
each package by its digest. Nothing is installed, no maintainer's script runs: packages are only unpacked.
Method: apt.conf(5), sources.list(5), apt-get(8) "download", dpkg-deb(1) "--extract".
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import DeviceError

SUITE = "bookworm"
SUITES = frozenset({"bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable"})
ARCHITECTURES = ("amd64", "arm64", "armhf")
ETC_APT = Path("/etc/apt")
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
FETCH_SECONDS = 600
CONFIGURATION = """\
APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures {{ {architectures} }};
APT::Sandbox::User "{user}";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{folder}/state";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache";
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
"""
"""Hooks are cleared since they may clean the host's own cache."""


def fetch(packages: Iterable[str], folder: Path) -> tuple[list[Path], float]:
    """Download packages, each "name:architecture", into a folder; return the files and how many MB of indexes it took."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DeviceError(f"qemu's set-up needs {tool}, which isn't here; it works on Debian 12 and 13 for x86-64")
    private = folder / "apt"
    environment = _configure(private, mirrors(ETC_APT))
    said = _apt(["update", "--error-on=any"], private, environment)
    _apt(["download", *packages], folder, environment)
    return sorted(folder.glob("*.deb")), _fetched_mb(said)


def unpack(package: Path, folder: Path) -> None:
    """Unpack a package's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _run(["dpkg-deb", "--extract", str(package), str(folder)], folder, dict(os.environ), f"unpack {package.name}")


def mirrors(etc_apt: Path) -> list[str]:
    """Return the host's mirrors of Debian itself; DeviceError when it has none."""
    one_line = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*.list"))]
    found = [uri for path in one_line for uri in _of_lines(_read(path))]
    found += [
        uri for path in sorted((etc_apt / "sources.list.d").glob("*.sources")) for uri in _of_stanzas(_read(path))
    ]
    if not found:
        raise DeviceError(
            f"qemu's set-up needs a mirror of Debian, and {etc_apt} names none; "
            f"add a line: deb <mirror> {SUITE} main (it works on Debian 12 and 13 for x86-64)"
        )
    return list(dict.fromkeys(found))


def _of_lines(text: str) -> Iterable[str]:
    """Yield mirrors of the one-line form: deb [options] uri suite component..."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] != ["deb"]:
            continue
        options = ""
        if words[1:2] and words[1].startswith("["):
            end = next((index for index, word in enumerate(words) if word.endswith("]")), len(words))
            options, words = " ".join(words[1 : end + 1]), words[:1] + words[end + 1 :]
        if len(words) > 3 and words[2] in SUITES and "main" in words[3:] and _is_debians(options):
            yield words[1]


def _of_stanzas(text: str) -> Iterable[str]:
    """Yield mirrors of the deb822 form."""
    for stanza in text.split("\n\n"):
        lines = [line for line in stanza.splitlines() if line and not line.startswith("#")]
        fields: dict[str, str] = {}
        name = ""
        for line in lines:
            head, colon, rest = line.partition(":")
            if line[0].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif colon:
                name = head.strip().lower()
                fields[name] = rest.strip()
        if _is_mirror(fields):
            yield from fields.get("uris", "").split()


def _is_mirror(fields: dict[str, str]) -> bool:
    """Say whether a stanza is switched on, of Debian's own suites, and signed by Debian."""
    suits = SUITES & set(fields.get("suites", "").split()) and "main" in fields.get("components", "").split()
    signed = f"signed-by={fields['signed-by']}" if "signed-by" in fields else ""
    return (
        "deb" in fields.get("types", "").split()
        and bool(suits)
        and fields.get("enabled", "yes") != "no"
        and _is_debians(signed)
    )


def _is_debians(options: str) -> bool:
    """Say whether an entry is signed by Debian's own key, or by whatever the host trusts."""
    return "signed-by" not in options.lower() or "debian-archive" in options


def _configure(folder: Path, uris: Sequence[str]) -> dict[str, str]:
    """Write apt's private configuration and return the environment that makes apt use it."""
    for place in ("state/lists/partial", "cache/archives/partial"):
        (folder / place).mkdir(parents=True)
    (folder / "state" / "status").touch()
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    signed = f"[signed-by={keyring}] " if keyring else ""
    lines = [f"deb {signed}{uri} {SUITE} main\n" for uri in uris]
    (folder / "sources.list").write_text("".join(lines), encoding="utf-8")
    architectures = " ".join(f'"{architecture}";' for architecture in ARCHITECTURES)
    user = "root" if os.geteuid() == 0 else ""
    configuration = CONFIGURATION.format(architectures=architectures, folder=folder, user=user)
    (folder / "apt.conf").write_text(configuration, encoding="utf-8")
    return {**os.environ, "APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


def _apt(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    return _run(["apt-get", "--quiet", *arguments], folder, environment, f"apt-get {arguments[0]}")


def _fetched_mb(said: str) -> float:
    """Return what apt says that it fetched: "Fetched 26.1 MB in 5s (5670 kB/s)"."""
    found = re.search(r"^Fetched ([\d.,]+) (k?M?)B in", said, re.MULTILINE)
    return float(found[1].replace(",", "")) * {"": 1e-6, "k": 1e-3, "M": 1.0}.get(found[2], 0.0) if found else 0.0


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], what: str) -> str:
    """Run a tool of Debian and return what it said; DeviceError with its first complaint when it failed."""
    try:
        done = subprocess.run(  # noqa: S603  # apt-get and dpkg-deb, with arguments of our own
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"qemu's set-up can't {what}: no end after {FETCH_SECONDS} s; see whether the mirror answers"
        ) from error
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(("E:", "dpkg"))]
        said = lines[0][:300] if lines else f"it ended with {done.returncode}"
        raise DeviceError(f"qemu's set-up can't {what}: {said}; see whether the mirror in {ETC_APT} answers")
    return done.stdout


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
