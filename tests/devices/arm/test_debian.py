"""Which of the host's package sources are Debian's own, and what a failing mirror leads to."""

from pathlib import Path

import pytest

from devices.arm import debian
from pipeline.errors import DeviceError

DEBIAN_12 = """\
Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
DEBIAN_13 = """\
Types: deb deb-src
URIs: https://other.example/debian/
Suites: trixie
 trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
"""
OTHERS = """\
Types: deb
URIs: https://vendor.example/apt
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        suffix = "sources" if "Types" in text else "list"
        (folder / "sources.list.d" / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "mirrors"),
    [
        (DEBIAN_12, ["http://mirror.example/debian"]),
        (DEBIAN_13, ["https://other.example/debian/"]),
        ("deb http://a.example/debian trixie main\n", ["http://a.example/debian"]),
        (
            "deb [arch=amd64 signed-by=/k/debian-archive-keyring.gpg] http://a.example/d sid main\n",
            ["http://a.example/d"],
        ),
        ("deb [ arch=amd64 ] http://a.example/d sid main # mine\n", ["http://a.example/d"]),
    ],
)
def test_debians_own_mirror_is_found_in_either_form(tmp_path: Path, text: str, mirrors: list[str]) -> None:
    assert debian.mirrors(etc(tmp_path / "apt", debian=text, others=OTHERS)) == mirrors


@pytest.mark.parametrize(
    "text",
    [
        OTHERS,
        "# deb http://a.example/debian bookworm main\n",
        "deb-src http://a.example/debian bookworm main\n",
        "deb [signed-by=/k/vendor.gpg] http://a.example/debian bookworm main\n",
        "deb http://a.example/cloud cloud-sdk-bookworm main\n",
        "deb http://a.example/ubuntu noble main\n",
        "deb [unclosed http://a.example\n",
        "deb\n",
    ],
)
def test_what_is_not_debians_own_is_no_mirror(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeviceError, match="names none; add a line: deb <mirror> bookworm main"):
        debian.mirrors(etc(tmp_path / "apt", some=text))


def test_a_host_without_sources_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="needs a mirror of Debian"):
        debian.mirrors(tmp_path)


def test_a_mirror_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = etc(tmp_path / "apt", dead="deb http://127.0.0.1:9/debian bookworm main\n")
    monkeypatch.setattr(debian, "ETC_APT", dead)
    fetched = tmp_path / "fetched"
    fetched.mkdir()

    with pytest.raises(DeviceError, match=r"can't apt-get update: E: .*see whether the mirror") as raised:
        debian.fetch(["qemu-user:amd64"], fetched)

    assert "\n" not in str(raised.value)


def test_a_host_that_is_no_debian_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeviceError, match="needs apt-get, which isn't here; it works on Debian 12 and 13"):
        debian.fetch(["qemu-user:amd64"], tmp_path)


def test_a_broken_package_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken_1_amd64.deb"
    broken.write_bytes(b"!<arch>\nnothing of use")

    with pytest.raises(DeviceError, match=r"can't unpack broken_1_amd64\.deb: dpkg-deb"):
        debian.unpack(broken, tmp_path / "out")
