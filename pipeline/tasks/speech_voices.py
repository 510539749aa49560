"""Speech out of eSpeak NG, as the package espeakng-loader brings it: synthetic, in many voices, the same bytes for the same request.

A request is a list of utterances: a text, a voice ("en-us+m1": an accent and a variant), a speed in words a minute, a pitch in 0..99.
The synthesiser is a C library of others, so it runs in a process of its own with a time limit; what it gives is kept in the
user's cache (EDGEPRESS_CACHE), under a digest of the request. eSpeak NG is free software under GPL-3: https://github.com/espeak-ng/espeak-ng
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from pipeline.errors import MissingExtraError, TaskError

RATE = 16_000
"""Samples a second."""
LIMIT_SECONDS = 600
MOST_UTTERANCES = 50_000
SYNTHESIS, CHARACTERS_UTF8, NO_EVENTS = 2, 1, 0
RATE_PARAMETER, PITCH_PARAMETER = 1, 3
"""AUDIO_OUTPUT_SYNCHRONOUS, espeakCHARS_UTF8, espeakRATE, espeakPITCH of speak_lib.h."""

Clips = NDArray[np.int16]


@dataclass(frozen=True, order=True)
class Utterance:
    """A text as one voice says it."""

    text: str
    voice: str
    speed: int = 175
    pitch: int = 50


def speak(utterances: Sequence[Utterance], *, samples: int) -> Clips:
    """Return what is said [N, samples] at RATE, silence cut off, in the middle of the clip; longer speech loses its end."""
    if find_spec("espeakng_loader") is None:
        raise MissingExtraError("this task speaks through eSpeak NG; pip install 'edgepress[demo]'")
    if len(utterances) > MOST_UTTERANCES:
        raise TaskError(f"{len(utterances):,} utterances; at most {MOST_UTTERANCES:,} are made in one go")
    request = json.dumps([samples, [astuple(each) for each in utterances]])
    folder = Path(os.environ.get("EDGEPRESS_CACHE") or platformdirs.user_cache_dir("edgepress")) / "speech"
    kept = folder / f"{sha256(request.encode()).hexdigest()[:20]}.npy"
    if not kept.exists():
        _make(request, kept)
    clips: Clips = np.load(kept, mmap_mode="r", allow_pickle=False)
    if clips.shape != (len(utterances), samples) or clips.dtype != np.int16:
        raise TaskError(f"{kept} isn't what was synthesised; delete it")
    return clips


def _make(request: str, kept: Path) -> None:
    """Synthesise in another process, and keep the result once it is whole."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".making-") as place:
        made = Path(place) / "clips.npy"
        command = [sys.executable, "-m", "pipeline.tasks.speech_voices", str(made)]
        try:
            done = subprocess.run(  # noqa: S603  # this very module
                command, input=request, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TaskError(f"speech synthesis took longer than {LIMIT_SECONDS} s; ask for fewer utterances") from error
        if done.returncode or not made.exists():
            told = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
            raise TaskError(f"speech synthesis failed: {told[0]:.300}")
        made.replace(kept)


def _synthesise(request: str, made: Path) -> None:
    """Write the clips of a request; runs in the process of its own."""
    from scipy.signal import resample_poly  # noqa: PLC0415  # half a second, here alone

    samples, wanted = json.loads(request)
    said: list[NDArray[np.int16]] = []
    library, rate = _library(said)
    c_library = ctypes.CDLL(None)
    clips = np.zeros((len(wanted), samples), np.int16)
    for number, (text, voice, speed, pitch) in enumerate(wanted):
        _choose(library, voice)
        library.espeak_SetParameter(RATE_PARAMETER, speed, 0)
        library.espeak_SetParameter(PITCH_PARAMETER, pitch, 0)
        said.clear()
        c_library.srand(number)  # breath and flutter come out of rand(), which eSpeak NG seeds by the clock
        content = text.encode() + b"\0"
        library.espeak_Synth(content, len(content), 0, 1, 0, CHARACTERS_UTF8, None, None)
        library.espeak_Synchronize()
        wave = np.concatenate(said) if said else np.zeros(1, np.int16)
        clips[number] = _centred(resample_poly(wave.astype(np.float32), RATE, rate), samples)
    np.save(made, clips, allow_pickle=False)


def _library(said: list[NDArray[np.int16]]) -> tuple[ctypes.CDLL, int]:
    """Return the library, ready to speak into a list, and its samples a second."""
    import espeakng_loader  # noqa: PLC0415  # of an extra

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(SYNTHESIS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise SystemExit(f"eSpeak NG doesn't start (code {rate})")
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

    def take(wave: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if count > 0:
            said.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    callback = kind(take)
    vars(library)["kept_callback"] = callback  # ctypes frees it with its last reference
    library.espeak_SetSynthCallback(callback)
    return library, int(rate)


def _choose(library: ctypes.CDLL, voice: str) -> None:
    """Take a voice; the library itself goes on with the one before where it knows an accent not, and without a variant that it knows not."""
    import espeakng_loader  # noqa: PLC0415  # as above

    variant = voice.partition("+")[2]
    known = not variant or (Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant).is_file()
    if not known or library.espeak_SetVoiceByName(voice.encode()):
        raise SystemExit(f"no voice {voice!r}")


def _centred(wave: NDArray[np.float32], samples: int) -> NDArray[np.int16]:
    loud = np.flatnonzero(np.abs(wave) > 0.02 * max(1.0, float(np.abs(wave).max())))
    spoken = wave[loud[0] : loud[-1] + 1][:samples] if len(loud) else wave[:0]
    clip = np.zeros(samples, np.float32)
    start = (samples - len(spoken)) // 2
    clip[start : start + len(spoken)] = spoken
    return np.clip(np.round(clip), -32768, 32767).astype(np.int16)


if __name__ == "__main__":
    _synthesise(sys.stdin.read(), Path(sys.argv[1]))
