"""Log-mel features: how speech becomes a picture, in four forms that give the same numbers.

| form | for |
|---|---|
| `log_mel(waves)` | training: whole clips, numpy |
| `Stream` | a microphone: samples in as they come, frames out as soon as they are whole |
| `FrontEnd` | files: a torch module of plain products, which `write_front_end` writes as ONNX and TFLite, both float |
| `log_mel.c` | a device: C99 beside this file, without any library but math.h |

The features stay in float. Their logarithm spreads quiet sounds over many units: with eight bits between the powers themselves nothing
is left of them, so that only the network behind is int8.

A frame is WINDOW samples under a Hann window, padded to FFT; its power spectrum is summed under MELS triangles between LOW and HIGH hertz,
evenly spaced on O'Shaughnessy's scale as HTK has it (Young et al., The HTK Book 3.4, equation 5.13), and its logarithm is scaled.

Letters: N clips, S samples, T frames, M = MELS.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Floats = NDArray[np.float32]

RATE, WINDOW, HOP, FFT, MELS = 16_000, 480, 400, 512, 40
LOW, HIGH = 60.0, 7600.0
FLOOR = 1e-7
"""Added to a band's power before the logarithm: about the noise of 16-bit samples in [-1, 1)."""
MEAN, DEVIATION = -9.0, 4.4
"""Of the training clips' logarithms, so that the network's input has mean 0 and deviation 1, roughly."""
C_SOURCE = Path(__file__).with_name("log_mel.c")


def frames_of(samples: int) -> int:
    """Return how many whole frames so many samples hold."""
    return max(0, (samples - WINDOW) // HOP + 1)


def log_mel(waves: NDArray[Any]) -> Floats:
    """Return features [N, T, M] of clips [N, S], floats in [-1, 1) or int16."""
    if waves.dtype == np.int16:
        waves = waves.astype(np.float32) / np.float32(32768)
    cut = np.lib.stride_tricks.sliding_window_view(waves, WINDOW, axis=1)[:, ::HOP]
    spectrum = np.fft.rfft(cut * hann(), FFT)
    power = (spectrum.real**2 + spectrum.imag**2) / WINDOW
    features = (np.log(power @ mel_filters() + FLOOR) - MEAN) / DEVIATION
    return features.astype(np.float32)


class Stream:
    """Features of speech that comes in pieces: the same frames as `log_mel` gives for all of it."""

    def __init__(self) -> None:
        self.rest = np.zeros(0, np.float32)

    def push(self, samples: NDArray[Any]) -> Floats:
        """Take samples [S], floats in [-1, 1) or int16; return the frames [T, M] that are whole by now, T may be 0."""
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / np.float32(32768)
        held = np.concatenate([self.rest, samples.astype(np.float32)])
        count = frames_of(len(held))
        self.rest = held[count * HOP :]
        return log_mel(held[None])[0] if count else np.zeros((0, MELS), np.float32)


class FrontEnd(nn.Module):
    """The same out of plain products, for files: clips [N, S] in [-1, 1) to features [N, 1, T, M]."""

    def __init__(self) -> None:
        super().__init__()
        time, bins = np.arange(WINDOW), np.arange(FFT // 2 + 1)[:, None]
        turns = 2 * np.pi * bins * time / FFT
        waves = np.concatenate([np.cos(turns), np.sin(turns)]) * hann() / np.sqrt(WINDOW)
        self.register_buffer("waves", torch.tensor(waves, dtype=torch.float32)[:, None, None])
        self.register_buffer("filters", torch.tensor(mel_filters(), dtype=torch.float32))

    def forward(self, clips: Tensor) -> Tensor:
        """Return the features."""
        parts = F.conv2d(clips[:, None, None], self.waves, stride=(1, HOP))[:, :, 0]  # type: ignore[arg-type]  # a buffer
        real, imaginary = parts.chunk(2, dim=1)
        power = (real * real + imaginary * imaginary).transpose(1, 2)
        scaled: Tensor = ((power @ self.filters + FLOOR).log() - MEAN) / DEVIATION  # type: ignore[operator]  # a buffer
        return scaled[:, None]


def write_front_end(folder: Path, samples: int) -> tuple[Path, Path]:
    """Write `front_end.onnx` and `front_end.tflite` for clips [1, samples]; both float, input "samples", output "features"."""
    from pipeline.quantization.fold import fold  # noqa: PLC0415  # with the writers
    from pipeline.quantization.form import FileForm  # noqa: PLC0415  # as above
    from pipeline.quantization.trace import trace  # noqa: PLC0415  # as above
    from pipeline.stages.export_onnx import write_onnx  # noqa: PLC0415  # seconds to import
    from pipeline.stages.export_tflite import write_tflite  # noqa: PLC0415  # as above

    example = (torch.zeros(2, samples),)
    program = fold(trace(FrontEnd().eval(), example))
    form = FileForm(
        input_type="float32", output_type="float32", input_name="samples", output_name="features", metadata=described()
    )
    paths = folder / "front_end.onnx", folder / "front_end.tflite"
    write_onnx(program, example, paths[0], form=form)
    write_tflite(program, example, paths[1], form=form)
    return paths


def described() -> dict[str, str]:
    """Return the features' definition, for the metadata of the files."""
    return {
        "features": f"log-mel, {MELS} bands of {LOW:g} to {HIGH:g} Hz, of {RATE} samples a second in [-1, 1)",
        "frames": f"Hann window of {WINDOW} samples every {HOP}, Fourier transform of {FFT}, power / {WINDOW}",
        "scale": f"(ln(power + {FLOOR:g}) - {MEAN}) / {DEVIATION}",
    }


@cache
def hann() -> NDArray[np.float64]:
    """Return the periodic Hann window [WINDOW]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


@cache
def mel_filters() -> NDArray[np.float64]:
    """Return the triangles [FFT / 2 + 1, M], each with its peak at 1."""
    edges = _hertz(np.linspace(_mel(np.float64(LOW)), _mel(np.float64(HIGH)), MELS + 2))
    bins = np.arange(FFT // 2 + 1)[:, None] * RATE / FFT
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    found: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return found


def _mel(hertz: NDArray[np.float64] | np.float64) -> Any:
    return 2595 * np.log10(1 + hertz / 700)


def _hertz(mel: Any) -> Any:
    return 700 * (10 ** (mel / 2595) - 1)
