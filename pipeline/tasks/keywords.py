"""Keywords: which of twenty words is in this second of sound, an unknown one, or none? Keyword spotting for a microphone that is always on.

**The speech is synthetic**: eSpeak NG says the words in seventy voices, four accents, at many speeds and pitches. The words are those of Speech
Commands (Warden 2018, https://arxiv.org/abs/1804.03209). Noise, white or pink or other voices, is mixed in at 20 dB down to 0 dB; one
clip in five is clean. Voices of the validation and test splits are heard nowhere else, and neither are their unknown words. Scores on it rank networks;
they don't say how well one hears people: for that give a folder of recordings, `Keywords(folder)` (`speech_recordings` says how it lies).

The network takes log-mel features [1, 39, 40], which stay in float (`speech_features` has them as files, as C and as a stream).
The student is DS-CNN, the teacher ResNet-20.

This file uses nothing that a user's own task could not.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.networks.dscnn import DSCNN
from pipeline.networks.resnet import resnet8, resnet20
from pipeline.task import Metric, Splits
from pipeline.tasks import speech_features
from pipeline.tasks.speech_noise import LEVELS_DB, noise, with_noise
from pipeline.tasks.speech_recordings import read_recordings
from pipeline.tasks.speech_voices import RATE, Utterance, speak
from pipeline.teacher import Teacher


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORDS = _listed("yes no up down left right on off stop go zero one two three four five six seven eight nine")
UNKNOWN, SILENCE = "unknown", "silence"
OTHER_WORDS = {
    "train": _listed("bed bird cat dog happy house marvin sheila tree wow window yellow garden"),
    "validation": _listed("backward forward follow learn"),
    "test": _listed("visual kitchen summer paper travel music"),
}
ACCENTS = ("en-us", "en-gb-scotland", "en-gb-x-rp", "en-029")
VOICES = {
    "train": _listed(
        "m1 m2 m3 m4 m5 f1 travis Alex Andrea Andy Annie Diogo Gene Gene2 Henrique Jacky Marco Mario Mike mike2 Reed Storm adam anika antonio "
        "benjamin boris iven iven2 iven3 iven4 klatt klatt2 klatt3 klatt4 steph steph2 steph3 gustave ian john marcelo michel miguel "
        "pablo paul pedro quincy rob robert"
    ),
    "validation": _listed("m6 f4 Denis belinda caleb david edward edward2"),
    "test": _listed("m7 m8 shelby Hugo Lee Michael aunty grandma linda max norbert zac"),
}
"""Variants of eSpeak NG; no split hears another's. Six are left out, f2 among them: what they say differs from one process to the next."""
SPEEDS, PITCHES = (130, 220), (15, 85)
LARGEST_SHIFT = RATE // 10
"""Augmentation: samples by which a clip is moved."""
LOUDER_DB = 6.0
EXTRA_NOISE_DB = (10.0, 40.0)


@dataclass(frozen=True)
class Sizes:
    """How many clips of each word the splits hold; of unknown words twice, of silence as many."""

    train: int = 120
    validation: int = 24
    test: int = 48
    width: int = 48
    large: bool = True


FULL = Sizes()
SMOKE = Sizes(train=6, validation=3, test=4, width=16, large=False)


class Clips:
    """A split: `waves` [N, RATE] int16 and `labels` [N]."""

    def __init__(self, waves: NDArray[np.int16], labels: NDArray[np.int64]) -> None:
        self.waves = waves
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[NDArray[np.int16], int]:
        return self.waves[index], int(self.labels[index])


class Keywords:
    """The task; `folder` holds recordings of one's own in the place of synthetic speech."""

    name = "keywords"
    metric = Metric("accuracy", higher_is_better=True)
    labels = (*WORDS, UNKNOWN, SILENCE)

    def __init__(self, folder: str | Path | None = None, *, sizes: Sizes = FULL) -> None:
        self.folder = None if folder is None else Path(folder)
        self.sizes = sizes

    @property
    def preprocessing(self) -> dict[str, str]:
        """Return the features' definition, and that nobody spoke."""
        speech = "synthetic, eSpeak NG" if self.folder is None else "recordings of the user's own"
        return {**speech_features.described(), "trained on": speech}

    @property
    def provenance(self) -> dict[str, str]:
        """Return where the clips come from; of the user's own only the user knows."""
        if self.folder is not None:
            return {"data": "recordings of the user's own", "teacher": "trained on the same clips"}
        voices = "speech synthesised by eSpeak NG (https://github.com/espeak-ng/espeak-ng)"
        return {"data": voices, "teacher": "trained on the same clips"}

    def data(self) -> Splits:
        """Return the three splits."""
        return self._splits

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: ResNet-20, in the smoke form ResNet-8."""
        return {"resnet": Teacher(_large if self.sizes.large else _small)}

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained: features [N, 1, 39, 40] to logits [N, 22]."""
        return DSCNN(len(self.labels), width=self.sizes.width, kernel=(10, 4))

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the accuracy of logits [N, 22] against labels [N]."""
        return float((outputs.argmax(1) == targets).mean())

    def augment(self, sample: tuple[NDArray[np.int16], int], seed: int) -> tuple[NDArray[np.int16], int]:
        """Return the clip moved, louder or quieter, under some more noise."""
        wave, label = sample
        dice = random.Random(seed)  # noqa: S311  # no secret
        moved = np.roll(wave, dice.randint(-LARGEST_SHIFT, LARGEST_SHIFT)) * 10 ** (
            dice.uniform(-LOUDER_DB, LOUDER_DB) / 20
        )
        return with_noise(moved, noise(len(wave), seed), dice.uniform(*EXTRA_NOISE_DB)), label

    def collate(self, samples: Sequence[tuple[NDArray[np.int16], int]]) -> tuple[Tensor, Tensor]:
        """Return the features [N, 1, 39, 40] and labels [N] of clips."""
        features = speech_features.log_mel(np.stack([wave for wave, _ in samples]))
        return torch.from_numpy(features)[:, None], torch.tensor([label for _, label in samples])

    @cached_property
    def _splits(self) -> Splits:
        if self.folder is not None:
            found = read_recordings(self.folder, self.labels)
            return Splits(*(Clips(*found[split]) for split in ("train", "validation", "test")))
        return Splits(*(self._spoken(split) for split in ("train", "validation", "test")))

    def _spoken(self, split: str) -> Clips:
        """Return what the split's voices say, each clip under its own noise."""
        count, dice = getattr(self.sizes, split), random.Random(split)  # noqa: S311  # no secret
        texts = [(word, label) for label, word in enumerate(WORDS) for _ in range(count)]
        texts += [(dice.choice(OTHER_WORDS[split]), self.labels.index(UNKNOWN)) for _ in range(2 * count)]
        spoken = speak([_utterance(text, VOICES[split], dice) for text, _ in texts], samples=RATE)
        labels = [*(label for _, label in texts), *[self.labels.index(SILENCE)] * count]
        waves = np.concatenate([spoken, np.zeros((count, RATE), np.int16)])
        mixed = np.stack([_mixed(waves, number, spoken, dice) for number in range(len(waves))])
        return Clips(mixed, np.array(labels, dtype=np.int64))


task = Keywords()
smoke = Keywords(sizes=SMOKE)


def _large() -> nn.Module:
    return resnet20(len(Keywords.labels))


def _small() -> nn.Module:
    return resnet8(len(Keywords.labels))


def _utterance(text: str, voices: Sequence[str], dice: random.Random) -> Utterance:
    voice = f"{dice.choice(ACCENTS)}+{dice.choice(voices)}"
    return Utterance(text, voice, speed=dice.randint(*SPEEDS), pitch=dice.randint(*PITCHES))


def _mixed(waves: NDArray[np.int16], number: int, spoken: NDArray[np.int16], dice: random.Random) -> NDArray[np.int16]:
    """Return a clip under the noise of its number: clean, or at a level that all clips take turns at."""
    level = LEVELS_DB[number % len(LEVELS_DB)]
    babble = [spoken[dice.randrange(len(spoken))] for _ in range(4)] if dice.random() < 1 / 3 else []
    under = noise(RATE, dice.getrandbits(32), babble=babble)
    silent = number >= len(spoken)
    return with_noise(waves[number], under, level if not silent else 0.0 if level is None else level)
