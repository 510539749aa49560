"""Spoken digits to text: two to four digits in two and a half seconds of sound, written down by a network that listens along.

**The speech is synthetic**, as in `keywords`: the same voices, parted the same way, under noise of 20 to 5 dB. The network gives, for each twentieth of a
second, logits over the ten digits and a blank (CTC); who decodes takes the likeliest at each moment, drops repeats, then blanks. The student is causal:
what it has written stands. Its teacher hears the whole clip first. The score is the word error rate, lower is better: wrong, missing and additional
digits over those spoken.

The real-time factor is a clip's latency over its SECONDS.

This file uses nothing that a user's own task could not.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.networks.streaming import acoustic
from pipeline.task import Metric, Splits
from pipeline.tasks import speech_features
from pipeline.tasks.keywords import ACCENTS, VOICES
from pipeline.tasks.speech_noise import noise, with_noise
from pipeline.tasks.speech_voices import RATE, Utterance, speak
from pipeline.teacher import Teacher

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BLANK, NOTHING = 10, -1
"""The letter for no digit; what fills a target behind its last digit."""
FEWEST, MOST = 2, 4
SECONDS = 2.5
LEVELS_DB = (None, 20.0, 10.0, 5.0)
SPEEDS, PITCHES = (150, 220), (15, 85)
LOUDER_DB, EXTRA_NOISE_DB = 6.0, (10.0, 40.0)


@dataclass(frozen=True)
class Sizes:
    """Clips in each split; the student's and the teacher's width and blocks."""

    train: int = 1600
    validation: int = 300
    test: int = 600
    width: int = 48
    blocks: int = 4
    teacher_width: int = 128
    teacher_blocks: int = 6


FULL = Sizes()
SMOKE = Sizes(train=60, validation=20, test=20, width=16, blocks=2, teacher_width=16, teacher_blocks=2)


class Sequences:
    """A split: `waves` [N, SECONDS * RATE] int16, `digits` [N, MOST] int64 with NOTHING behind the last."""

    def __init__(self, waves: NDArray[np.int16], digits: NDArray[np.int64]) -> None:
        self.waves = waves
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        return self.waves[index], self.digits[index]


class DigitsCtc:
    """The task."""

    name = "digits-ctc"
    metric = Metric("word error rate", higher_is_better=False)
    preprocessing = {  # noqa: RUF012  # a user writes it so; nobody changes it
        **speech_features.described(),
        "alphabet": " ".join((*DIGITS, "blank")),
        "decoding": "the likeliest letter of each moment; repeats dropped, then blanks",
        "seconds": str(SECONDS),
        "trained on": "synthetic, eSpeak NG",
    }
    provenance = {  # noqa: RUF012  # as above
        "data": "speech synthesised by eSpeak NG (https://github.com/espeak-ng/espeak-ng)",
        "teacher": "trained on the same clips",
    }

    def __init__(self, *, sizes: Sizes = FULL) -> None:
        self.sizes = sizes

    def data(self) -> Splits:
        """Return the three splits."""
        return self._splits

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: wider, deeper, and with ears for what is still to come."""
        sizes = self.sizes
        build = partial(_network, sizes.teacher_width, sizes.teacher_blocks, causal=False)
        return {"whole_clip": Teacher(build, answers="ctc")}

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained: features [N, 1, 99, 40] to logits [N, 46, 11]."""
        return _network(self.sizes.width, self.sizes.blocks, causal=True)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the CTC loss of logits [N, T, 11] and digits [N, MOST]."""
        moments = torch.full((len(output),), output.shape[1], dtype=torch.long)
        counts = (target != NOTHING).sum(1)
        likely = F.log_softmax(output.float(), dim=2).transpose(0, 1)
        return F.ctc_loss(likely, target.clamp_min(0), moments, counts, blank=BLANK, zero_infinity=True)

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the word error rate of logits [N, T, 11]."""
        pairs = _pairs(outputs, targets)
        return sum(edits(said, meant) for said, meant in pairs) / max(1, sum(len(meant) for _, meant in pairs))

    def mistakes(self, outputs: Any, targets: Any) -> list[tuple[float, str, str]]:
        """Return for each clip the wrong, missing and additional digits, those spoken, and those written down."""
        return [(edits(said, meant), _words(meant), _words(said)) for said, meant in _pairs(outputs, targets)]

    def augment(
        self, sample: tuple[NDArray[np.int16], NDArray[np.int64]], seed: int
    ) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Return the clip louder or quieter, under some more noise."""
        wave, digits = sample
        dice = random.Random(seed)  # noqa: S311  # no secret
        louder = wave * 10 ** (dice.uniform(-LOUDER_DB, LOUDER_DB) / 20)
        return with_noise(louder, noise(len(wave), seed), dice.uniform(*EXTRA_NOISE_DB)), digits

    def collate(self, samples: Sequence[tuple[NDArray[np.int16], NDArray[np.int64]]]) -> tuple[Tensor, Tensor]:
        """Return features [N, 1, 99, 40] and digits [N, MOST]."""
        features = speech_features.log_mel(np.stack([wave for wave, _ in samples]))
        return torch.from_numpy(features)[:, None], torch.from_numpy(np.stack([digits for _, digits in samples]))

    @cached_property
    def _splits(self) -> Splits:
        return Splits(*(self._spoken(split) for split in ("train", "validation", "test")))

    def _spoken(self, split: str) -> Sequences:
        count, dice = getattr(self.sizes, split), random.Random(f"digits {split}")  # noqa: S311  # no secret
        rows = [[dice.randrange(10) for _ in range(dice.randint(FEWEST, MOST))] for _ in range(count)]
        said = [_utterance(row, VOICES[split], dice) for row in rows]
        waves = speak(said, samples=int(SECONDS * RATE))
        mixed = [
            with_noise(wave, noise(len(wave), dice.getrandbits(32)), LEVELS_DB[number % len(LEVELS_DB)])
            for number, wave in enumerate(waves)
        ]
        digits = [row + [NOTHING] * (MOST - len(row)) for row in rows]
        return Sequences(np.stack(mixed), np.array(digits, dtype=np.int64))


task = DigitsCtc()
smoke = DigitsCtc(sizes=SMOKE)


def decode(logits: NDArray[np.float32]) -> list[int]:
    """Return the digits that logits [T, 11] spell: the likeliest of each moment, repeats dropped, then blanks."""
    best = logits.argmax(1)
    changes = np.flatnonzero(np.diff(best, prepend=-1))
    return [int(letter) for letter in best[changes] if letter != BLANK]


def edits(said: Sequence[int], meant: Sequence[int]) -> int:
    """Return the fewest digits to replace, insert and delete (Levenshtein 1966); ten lines, where a package would bring a compiler's wheel."""
    row = list(range(len(meant) + 1))
    for number, letter in enumerate(said, start=1):
        corner, row[0] = row[0], number
        for place, wanted in enumerate(meant, start=1):
            corner, row[place] = row[place], min(corner + (letter != wanted), row[place] + 1, row[place - 1] + 1)
    return row[-1]


def _pairs(outputs: Any, targets: Any) -> list[tuple[list[int], list[int]]]:
    """Return for each clip the digits written down, and those spoken."""
    return [(decode(said), row[row != NOTHING].tolist()) for said, row in zip(outputs, targets, strict=True)]


def _words(digits: Sequence[int]) -> str:
    return " ".join(DIGITS[digit] for digit in digits) or "nothing"


def _network(width: int, blocks: int, *, causal: bool) -> nn.Module:
    letters = len(DIGITS) + 1
    return acoustic(bands=speech_features.MELS, letters=letters, width=width, blocks=blocks, causal=causal)


def _utterance(row: Sequence[int], voices: Sequence[str], dice: random.Random) -> Utterance:
    voice = f"{dice.choice(ACCENTS)}+{dice.choice(voices)}"
    return Utterance(_words(row), voice, speed=dice.randint(*SPEEDS), pitch=dice.randint(*PITCHES))
