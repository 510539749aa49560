"""Signatures: ed25519 (RFC 8032) over the bytes of the archive's index, which holds the digest of every other member.

The key is an ordinary one; `openssl genpkey -algorithm ed25519 -out key.pem` makes it, `openssl pkey -in key.pem -pubout -out public.pem`
gives the half that others check with. OpenSSH's ed25519 keys do as well. The archive carries the signature as 64 plain bytes and the
public key as PEM, so that openssl alone can check it, too:

    openssl pkeyutl -verify -pubin -inkey index.json.pub -rawin -in index.json -sigfile index.json.sig

A key that comes with the archive shows that nobody altered it since; whose it is, only the reader's own copy of the key says.
"""

import base64
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "EDGEPRESS_PASSPHRASE"  # noqa: S105 - the variable's name
MAX_KEY_BYTES = 2**14
PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of a public key in DER: RFC 8410, section 4 and 10.1."""

BEGIN, FINISH = "-----BEGIN PUBLIC KEY-----\n", "\n-----END PUBLIC KEY-----\n"


def sign(content: bytes, key: Path) -> tuple[bytes, bytes]:
    """Return the signature of `content` and the public key, 32 bytes."""
    private = _private(key)
    return private.sign(content), private.public_key().public_bytes_raw()


def is_signed_by(content: bytes, signature: bytes, public: bytes) -> bool:
    """Tell whether `signature` is that of `content` by the key `public`, 32 bytes."""
    _require()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - with it

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def to_pem(public: bytes) -> bytes:
    """Return a public key as PEM, as openssl writes it."""
    return f"{BEGIN}{base64.b64encode(PREFIX + public).decode()}{FINISH}".encode()


def from_pem(pem: bytes) -> bytes | None:
    """Return the 32 bytes of a key that `to_pem` wrote; None where it wrote no such bytes."""
    body = pem.removeprefix(BEGIN.encode()).removesuffix(FINISH.encode())
    try:
        public = base64.b64decode(body, validate=True).removeprefix(PREFIX)
    except ValueError:
        return None
    return public if len(public) == 32 and to_pem(public) == pem else None


def fingerprint(public: bytes) -> str:
    """Return the sha256 of the key's DER form, as `openssl pkey -pubin -in public.pem -outform DER | sha256sum` gives it."""
    return hashlib.sha256(PREFIX + public).hexdigest()


def read_public(path: Path) -> bytes:
    """Return a public key, PEM or OpenSSH's one line, as 32 bytes; ModelError where it is none of ed25519."""
    content = _content(path)
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - with it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - with it

    load = serialization.load_ssh_public_key if content.startswith(b"ssh-") else serialization.load_pem_public_key
    try:
        key = load(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ModelError(
            f"{path} is no ed25519 public key; make it of the private one: openssl pkey -in key.pem -pubout -out public.pem"
        )
    return key.public_bytes_raw()


def _private(path: Path) -> "Ed25519PrivateKey":
    content = _content(path)
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - with it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 - with it

    is_ssh = b"BEGIN OPENSSH PRIVATE KEY" in content
    load = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
    passphrase = os.environ.get(PASSPHRASE)
    try:
        key = load(content, password=passphrase.encode() if passphrase else None)
    except TypeError as error:  # a passphrase where there is no need of one, or none where there is
        wants = f"set {PASSPHRASE}" if passphrase is None else f"unset {PASSPHRASE}"
        raise ModelError(f"can't open the key {path} ({_one_line(error)}); {wants}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ModelError(
            f"can't read the key {path} ({_one_line(error)}); give an ed25519 private key, as openssl genpkey -algorithm ed25519 "
            f"makes it, its passphrase, if any, in {PASSPHRASE}"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ModelError(f"the key {path} isn't ed25519; make one: openssl genpkey -algorithm ed25519 -out key.pem")
    return key


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        raise ModelError(f"can't read the key {str(path)!r:.200} ({getattr(error, 'strerror', error)})") from error
    if len(content) > MAX_KEY_BYTES:
        raise ModelError(f"{path} is larger than {MAX_KEY_BYTES} bytes; an ed25519 key is a few lines")
    return content


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _require() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError("signatures need the package cryptography; pip install 'edgepress[sign]'") from error
