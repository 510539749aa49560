"""Noise: white, pink, or other voices, mixed under a clip at a given ratio of powers.

The ratio is that of the whole clips' mean powers, in decibels: at 0 dB the noise is as strong as the word.
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS_DB: tuple[float | None, ...] = (None, 20.0, 10.0, 5.0, 0.0)
"""None: a clean clip."""
QUIET_DB = (-60.0, -25.0)
"""Power of noise where nobody speaks, against full scale."""
FULL_SCALE = 32768.0


def noise(samples: int, seed: int, *, babble: Sequence[NDArray[np.int16]] = ()) -> NDArray[np.float64]:
    """Return noise [samples] of power 1: the sum of clips where some are given, else white or pink."""
    if len(babble):
        dice = random.Random(seed)  # noqa: S311  # no secret
        waves = sum(np.roll(wave, dice.randrange(samples)).astype(np.float64) for wave in babble)
    else:
        numbers = np.random.default_rng(seed)
        waves = numbers.standard_normal(samples)
        if numbers.random() < 1 / 2:
            spectrum = np.fft.rfft(waves)
            waves = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), samples)
    return np.asarray(waves / max(float(np.sqrt(np.mean(np.square(waves)))), 1e-9))


def with_noise(wave: NDArray[Any], under: NDArray[np.float64], level_db: float | None) -> NDArray[np.int16]:
    """Return a clip with noise of power 1 under it at `level_db`; under a silent clip, noise at a level that follows from it."""
    loud = float(np.sqrt(np.mean(np.square(wave.astype(np.float64)))))
    if level_db is None:
        mixed = wave.astype(np.float64)
    elif loud > 0:
        mixed = wave + under * loud / 10 ** (level_db / 20)
    else:
        quiet = QUIET_DB[0] + (QUIET_DB[1] - QUIET_DB[0]) * (1 - min(max(level_db, 0.0), 20.0) / 20)
        mixed = under * FULL_SCALE * 10 ** (quiet / 20)
    return np.clip(np.round(mixed), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
