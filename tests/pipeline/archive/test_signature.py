"""Whose an archive is: by keys of openssl and OpenSSH, which can check it without us."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.archive.form import emit
from pipeline.archive.pack import pack
from pipeline.archive.signature import PASSPHRASE, fingerprint, from_pem, read_public, sign, to_pem
from pipeline.archive.verify import verify
from pipeline.errors import ModelError
from tests.small_archive import Members, indexed, members_of, write_keys, written
from tests.small_run import write_run

SIGNATURE, PUBLIC = "index.json.sig", "index.json.pub"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return write_keys(tmp_path)


def refusal(path: Path, key: Path | None) -> str:
    found = verify(path, key=key)
    assert not found.passed
    return found.problems[0]


def forged(run: Path, key: Path, tmp_path: Path, **parts: bytes | None) -> Path:
    """Return a signed archive of which `sig` and `pub` are others, or none."""
    members: Members = members_of(pack(run, out=tmp_path / "signed.edgepress", key=key))
    for name, content in parts.items():
        members[f"index.json.{name}"] = content or b""
    return written(tmp_path / "forged.edgepress", {name: each for name, each in members.items() if each})


def test_openssl_alone_checks_what_was_signed(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    for name, content in members_of(pack(run, out=tmp_path / "a.edgepress", key=keys[0])).items():
        (tmp_path / name).write_bytes(content)
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        PUBLIC,
        "-rawin",
        "-in",
        "index.json",
        "-sigfile",
        SIGNATURE,
    ]

    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (checked.returncode, "Verified Successfully" in checked.stdout) == (0, True)
    assert (tmp_path / PUBLIC).read_bytes() == keys[1].read_bytes()


def test_the_fingerprint_is_the_one_that_openssl_gives(keys: tuple[Path, Path]) -> None:
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", keys[1], "-outform", "DER"], capture_output=True, check=True
    )
    told = subprocess.run(["openssl", "sha256", "-r"], input=der.stdout, capture_output=True, check=True).stdout

    assert told.decode().split()[0] == fingerprint(read_public(keys[1]))


def test_an_unsigned_archive_passes_unless_a_key_asks_for_a_signature(
    run: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    path = pack(run, out=tmp_path / "a.edgepress")

    assert verify(path).passed
    assert verify(path).signed_by is None
    assert refusal(path, keys[1]) == f"{SIGNATURE} is missing: the archive isn't signed, and --key asks for it"


def test_another_key_is_refused_and_both_are_named(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = write_keys(tmp_path, "other")
    path = pack(run, out=tmp_path / "a.edgepress", key=keys[0])

    told = refusal(path, other)
    assert told.startswith(f"{PUBLIC}: signed by another key, ")
    assert all(fingerprint(read_public(key)) in told for key in (keys[1], other))
    assert verify(path).passed


def test_a_signature_of_something_else_is_refused(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    other, _ = sign(b"something else", keys[0])

    for signature in (other, bytes(64), other[:63], other + b"\0"):
        path = forged(run, keys[0], tmp_path, sig=signature)
        for key in (None, keys[1]):
            assert refusal(path, key).startswith(f"{SIGNATURE}: it isn't the signature of index.json by the key ")


def test_a_signature_is_of_this_archive_alone(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    signed = members_of(pack(run, out=tmp_path / "a.edgepress", key=keys[0]))
    other = members_of(pack(write_run(tmp_path / "other", {"licence": "MIT"})))

    path = written(tmp_path / "b.edgepress", {**other, SIGNATURE: signed[SIGNATURE], PUBLIC: signed[PUBLIC]})
    assert refusal(path, keys[1]).startswith(f"{SIGNATURE}: it isn't the signature of index.json")


def test_an_index_that_was_made_anew_breaks_the_signature(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    signed = members_of(pack(run, out=tmp_path / "a.edgepress", key=keys[0]))
    altered = indexed({**signed, "README.md": b"better than it is"})

    path = written(tmp_path / "b.edgepress", {**altered, SIGNATURE: signed[SIGNATURE], PUBLIC: signed[PUBLIC]})
    assert refusal(path, keys[1]).startswith(f"{SIGNATURE}: it isn't the signature of index.json")
    assert refusal(written(tmp_path / "c.edgepress", altered), keys[1]).startswith(f"{SIGNATURE} is missing")


def test_half_a_signature_is_refused(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    for part, other in (("sig", PUBLIC), ("pub", SIGNATURE)):
        assert refusal(forged(run, keys[0], tmp_path, **{part: None}), None).startswith(f"{other} stands alone")


def test_what_is_no_key_as_pem_is_refused(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    pem = keys[1].read_bytes()

    assert from_pem(pem) == read_public(keys[1])
    for other in (b"x", pem[:-1], pem + b"\n", pem.replace(b"\n", b"\r\n"), b" " + pem, pem.replace(b"MC", b"MD")):
        assert from_pem(other) is None
        assert refusal(forged(run, keys[0], tmp_path, pub=other), None).startswith(
            f"{PUBLIC}: it is no ed25519 public key"
        )


def test_openssh_keys_sign_and_check_as_well(run: Path, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", tmp_path / "id"], check=True)
    path = pack(run, out=tmp_path / "a.edgepress", key=tmp_path / "id")

    assert verify(path, key=tmp_path / "id.pub").known_key


def test_a_passphrase_comes_from_the_environment(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret", "-out", key], check=True
    )

    with pytest.raises(ModelError, match=f"set {PASSPHRASE}$"):
        pack(run, out=tmp_path / "a.edgepress", key=key)
    monkeypatch.setenv(PASSPHRASE, "wrong")
    with pytest.raises(ModelError, match=f"its passphrase, if any, in {PASSPHRASE}"):
        pack(run, out=tmp_path / "a.edgepress", key=key)
    assert not (tmp_path / "a.edgepress").exists()
    monkeypatch.setenv(PASSPHRASE, "secret")
    assert verify(pack(run, out=tmp_path / "a.edgepress", key=key)).signed_by


def test_what_is_no_ed25519_key_is_told_in_one_line(run: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "large").write_bytes(bytes(2**15))
    subprocess.run(["openssl", "genpkey", "-algorithm", "x25519", "-out", tmp_path / "other.pem"], check=True)

    for key in (
        tmp_path / "text",
        tmp_path / "large",
        tmp_path / "missing",
        tmp_path / "other.pem",
        keys[1],
        Path("a\0b"),
    ):
        with pytest.raises(ModelError) as caught:
            pack(run, out=tmp_path / "a.edgepress", key=key)
        assert "\n" not in str(caught.value)
    for key in (tmp_path / "text", tmp_path / "missing", tmp_path / "other.pem", keys[0]):
        with pytest.raises(ModelError, match=r"openssl pkey -in key.pem -pubout|No such file"):
            verify(tmp_path / "a.edgepress", key=key)
    assert not (tmp_path / "a.edgepress").exists()


def test_a_key_survives_its_pem(keys: tuple[Path, Path]) -> None:
    assert to_pem(read_public(keys[1])) == keys[1].read_bytes()


WITHOUT = "import sys; sys.modules['cryptography'] = None; from pipeline.cli import main; main()"


def test_the_light_install_checks_all_but_signatures_and_says_what_those_need(
    run: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    plain, signed = (
        pack(run, out=tmp_path / "plain.edgepress"),
        pack(run, out=tmp_path / "signed.edgepress", key=keys[0]),
    )
    commands = [
        ["verify", plain],
        ["inspect", plain],
        ["inspect", signed],
        ["verify", signed],
        ["verify", plain, "--key", keys[1]],
    ]
    ended = [
        subprocess.run(
            [sys.executable, "-P", "-c", WITHOUT, *map(str, each)], capture_output=True, text=True, check=False
        )
        for each in commands
    ]

    assert [each.returncode for each in ended] == [0, 0, 0, 2, 2]
    needs = "edgepress: signatures need the package cryptography; pip install 'edgepress[sign]'\n"
    assert [each.stderr for each in ended] == ["", "", "", needs, needs]


def test_a_signed_archive_is_the_unsigned_one_with_two_members_more(
    run: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    plain, signed = (
        pack(run, out=tmp_path / "plain.edgepress"),
        pack(run, out=tmp_path / "signed.edgepress", key=keys[0]),
    )
    left = {name: content for name, content in members_of(signed).items() if name not in (SIGNATURE, PUBLIC)}

    assert emit(left) == plain.read_bytes()
