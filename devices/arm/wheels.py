"""The runtimes that run in the emulated userland: their own builds for Arm, pinned by version and digest.

pip downloads them for a machine that isn't this one, from wherever it is configured to; a wheel is a zip file and is only
unpacked. Each digest is checked by pip (`--require-hashes`), so that counts of two machines are those of the same kernels.
tflite-runtime is the last runtime with a 32-bit build; it needs numpy before 2, which Debian has for armhf.
Method: pip's user guide, "pip download" and "Secure installs".
"""

import subprocess
import sys
import zipfile
from pathlib import Path

from pipeline.errors import DeviceError

PYTHON = "3.11"
"""The guest's, of Debian's suite; the host's may be another."""
FETCH_SECONDS = 600
VERSIONS = {"litert": "2.3.0", "onnxruntime": "1.31.1", "tflite_runtime": "2.14.0"}
LOCKED = {
    64: """\
ai-edge-litert==2.3.0 --hash=sha256:853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae
numpy==2.4.6 --hash=sha256:0ab0a9c4ffb1a6d95ef519fe4247dba8eb6b18ad93999f76b7f657039acabd47
onnxruntime==1.31.1 --hash=sha256:da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3
""",
    32: """\
tflite-runtime==2.14.0 --hash=sha256:c4e66a74165b18089c86788400af19fa551768ac782d231a9beae2f6434f7949
""",
}
"""What each guest imports, by its bits; what the runtimes list beside that is not needed to run a model."""
PLATFORMS = {
    64: tuple(f"manylinux_2_{minor}_aarch64" for minor in (17, 27, 28, 34)),
    32: ("manylinux_2_34_armv7l",),
}
"""pip takes a tag as it is given, and knows of no older one that would do as well."""


def fetch(bits: int, folder: Path) -> list[Path]:
    """Download the wheels of a guest into a folder and return them."""
    folder.mkdir(parents=True, exist_ok=True)
    locked = folder / "requirements.txt"
    locked.write_text(LOCKED[bits], encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "--requirement", str(locked), "--dest", str(folder)]
    command += ["--implementation", "cp", "--python-version", PYTHON, "--abi", f"cp{PYTHON.replace('.', '')}"]
    command += [f"--platform={platform}" for platform in PLATFORMS[bits]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)  # noqa: S603  # pip, with arguments of our own
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"qemu's set-up can't fetch wheels: no end after {FETCH_SECONDS} s") from error
    if done.returncode != 0:
        raise DeviceError(f"qemu's set-up can't fetch wheels: {_reason(done.stderr)}")
    return sorted(folder.glob("*.whl"))


def unpack(wheel: Path, folder: Path) -> None:
    """Unpack a wheel into a folder of modules."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def _reason(text: str) -> str:
    if "No module named pip" in text:
        return f"{sys.executable} has no pip; add it: {sys.executable} -m ensurepip"
    lines = [line.removeprefix("ERROR:").strip() for line in text.splitlines() if line.startswith("ERROR:")]
    return (lines[-1][:300] if lines else "pip failed") + "; see whether pip's index answers"
