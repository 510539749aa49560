"""Solar cells: which cell is broken? Anomaly detection on photos, learned from whole cells alone.

The photos are electroluminescence pictures of 2,624 cells, as the package elpv-dataset brings them (Buerhop-Lutz et al. 2018, Deitsch et al. 2019,
https://arxiv.org/abs/1807.02894; CC BY-NC-SA 4.0: read here, never passed on). Experts gave each a probability of a defect: 0 is whole, 2/3 and 1
count as broken, 1/3, where they were unsure, is left out. Half of the whole cells are learned from; the others and all broken ones are parted
between validation and test, single and multi-crystalline cells alike. Broken cells of the validation split choose the best epoch and nothing else.

The network draws a cell again; how far the drawing is off, over the worst tenth of its places, is the anomaly score, and the area under the ROC
curve (AUROC) the task's. The square and the sort stay outside of the network: eight bits hold a drawing well and its squared error badly.

The teacher is a wide autoencoder, the student a narrow one; `SolarCells(folder)` takes `normal/` and `anomalous/` pictures of one's own.

This file uses nothing that a user's own task could not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import MissingExtraError, TaskError
from pipeline.networks.autoencoder import autoencoder
from pipeline.task import Metric, Splits
from pipeline.teacher import Teacher

Floats = NDArray[np.float32]

SIDE = 64
BROKEN, UNSURE = 0.5, (0.1, 0.5)
"""Probabilities of a defect: from the first on a cell is broken; between the others nobody knows."""
WORST_SHARE = 0.1
MEAN, DEVIATION = 0.5, 0.25
"""Of pixels in [0, 1], roughly."""
MOST_FILES, MOST_PIXELS = 100_000, 64 * 2**20
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Sizes:
    """Cells to learn from and to judge by (None: all), the student's and the teacher's width and code."""

    cells: int | None = None
    width: int = 16
    code: int = 4
    teacher_width: int = 32
    teacher_code: int = 4


FULL = Sizes()
SMOKE = Sizes(cells=160, width=8, teacher_width=8)


class Cells:
    """A split: `pictures` [N, 1, SIDE, SIDE] and, for each, the picture flat with 1 behind it where the cell is broken, else 0."""

    def __init__(self, pictures: Floats, broken: NDArray[np.bool_]) -> None:
        self.pictures = pictures
        self.targets = np.concatenate([pictures.reshape(len(pictures), -1), broken[:, None]], axis=1, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Floats, Floats]:
        return self.pictures[index], self.targets[index]


class SolarCells:
    """The task; `folder` holds pictures of one's own."""

    name = "solar-cells"
    metric = Metric("AUROC", higher_is_better=True)
    preprocessing = {  # noqa: RUF012  # a user writes it so; nobody changes it
        "layout": f"one grey channel, {SIDE}x{SIDE}, by the mean of the areas",
        "range": "0 (black) to 1 (white)",
        "mean": str(MEAN),
        "standard_deviation": str(DEVIATION),
        "anomaly score": f"mean of the largest {WORST_SHARE:.0%} of squared differences between output and input",
    }

    def __init__(self, folder: str | Path | None = None, *, sizes: Sizes = FULL) -> None:
        self.folder = None if folder is None else Path(folder)
        self.sizes = sizes

    @property
    def provenance(self) -> dict[str, str]:
        """Return where the photos come from; of the user's own only the user knows."""
        if self.folder is not None:
            return {"data": "pictures of the user's own", "teacher": "trained on the same pictures"}
        source = "ELPV: 2,624 photos of solar cells (Buerhop-Lutz et al. 2018), as the package elpv-dataset brings them"
        return {"data": source, "data_licence": "CC-BY-NC-SA-4.0", "teacher": "trained on the same photos"}

    def data(self) -> Splits:
        """Return the three splits; the first holds whole cells alone."""
        return self._splits

    def teachers(self) -> dict[str, Teacher]:
        """Return the one teacher: a wide autoencoder, to be trained here."""
        sizes = self.sizes
        return {
            "wide": Teacher(partial(autoencoder, width=sizes.teacher_width, code=sizes.teacher_code), answers="values")
        }

    def student(self) -> nn.Module:
        """Return the network to deploy, untrained: pictures [N, 1, 64, 64] to the same drawn again."""
        return autoencoder(width=self.sizes.width, code=self.sizes.code)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared difference between drawings [N, 1, 64, 64] and pictures; the last column says nothing here."""
        return F.mse_loss(output.flatten(1), target[:, :-1])

    def score(self, outputs: Any, targets: Any) -> float:
        """Return the AUROC of how far drawings are off; 0.5 where all cells are alike."""
        from sklearn.metrics import roc_auc_score  # noqa: PLC0415  # a second to import

        anomaly = _anomaly(outputs, targets)
        broken = targets[:, -1] > BROKEN
        return float(roc_auc_score(broken, anomaly)) if 0 < broken.sum() < len(broken) else 0.5

    def mistakes(self, outputs: Any, targets: Any) -> list[tuple[float, str, str]]:
        """Return for each cell the share of the other kind that it stands on the wrong side of: the mean over either kind is 1 - AUROC."""
        anomaly, broken = _anomaly(outputs, targets), targets[:, -1] > BROKEN
        below = np.empty(len(anomaly))
        for kind in (True, False):
            others = np.sort(anomaly[broken != kind])
            # A cell of the other kind that is as far off counts by half, as it does in the area under the curve.
            places = sum(np.searchsorted(others, anomaly[broken == kind], side) / 2 for side in ("left", "right"))
            below[broken == kind] = places / max(1, len(others))
        return [
            (1 - share, "a broken cell", f"drawn worse than {share:.1%} of the whole ones")
            if own
            else (share, "a whole cell", f"drawn worse than {share:.1%} of the broken ones")
            for share, own in zip(below.tolist(), broken, strict=True)
        ]

    def augment(self, sample: tuple[Floats, Floats], seed: int) -> tuple[Floats, Floats]:
        """Return the cell turned by a half, or seen in a mirror: a cell's fingers run one way."""
        picture, target = sample
        turned = picture[:, :: 1 - 2 * (seed % 2), :: 1 - seed // 2 % 2 * 2].copy()
        return turned, np.append(turned.ravel(), target[-1]).astype(np.float32)

    @cached_property
    def _splits(self) -> Splits:
        paths, probability, kinds = _elpv() if self.folder is None else _own(self.folder)
        parts = _parts(probability, kinds, self.sizes.cells)
        return Splits(
            *(Cells(_pictures([paths[number] for number in part]), probability[part] > BROKEN) for part in parts)
        )


task = SolarCells()
smoke = SolarCells(sizes=SMOKE)


def _anomaly(outputs: Any, targets: Any) -> NDArray[Any]:
    """Return how far each drawing is off over the worst WORST_SHARE of its places: [N]."""
    apart = np.square(np.reshape(outputs, (len(outputs), -1)) - targets[:, :-1])
    count = max(1, round(WORST_SHARE * apart.shape[1]))
    anomaly: NDArray[Any] = np.partition(apart, -count, axis=1)[:, -count:].mean(1)
    return anomaly


def _parts(probability: NDArray[np.float64], kinds: NDArray[Any], cells: int | None) -> list[NDArray[np.int64]]:
    """Return the numbers of the cells of each split, mixed once and for all, each kind of cell alike."""
    parts: list[list[int]] = [[], [], []]
    unsure = (probability > UNSURE[0]) & (probability < UNSURE[1])
    for number, kind in enumerate(sorted(set(kinds.tolist()))):
        for broken in (False, True):
            chosen = (kinds == kind) & ((probability > BROKEN) == broken) & ~unsure
            own = np.random.default_rng(2 * number + broken).permutation(np.flatnonzero(chosen))
            own = own[: len(own) if cells is None else max(4, cells * len(own) // len(kinds))]
            learned = 0 if broken else len(own) // 2
            validation = (len(own) - learned) // 3
            pieces = np.split(own, [learned, learned + validation])
            for part, piece in zip(parts, pieces, strict=True):
                part.extend(piece.tolist())
    if not all(parts):
        raise TaskError("solar-cells: too few pictures; give at least 6 normal and 3 anomalous ones")
    return [np.sort(part) for part in parts]


def _elpv() -> tuple[list[Path], NDArray[np.float64], NDArray[Any]]:
    """Return all photos, the experts' probabilities and the kinds of cell, as the package's table lists them."""
    if find_spec("elpv_dataset") is None:
        raise MissingExtraError("the task 'solar-cells' needs the ELPV photos (91 MB); pip install 'edgepress[demo]'")
    folder = Path(str(files("elpv_dataset"))) / "data"
    lines = [line.split() for line in (folder / "labels.csv").read_text(encoding="utf-8").splitlines()]
    paths = [folder / name for name, _, _ in lines]
    return paths, np.array([float(each) for _, each, _ in lines]), np.array([kind for _, _, kind in lines])


def _own(folder: Path) -> tuple[list[Path], NDArray[np.float64], NDArray[Any]]:
    """Return the pictures below `normal/` and `anomalous/`."""
    paths = [
        path
        for name in ("normal", "anomalous")
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not 9 <= len(paths) <= MOST_FILES:
        raise TaskError(
            f"{folder}: {len(paths):,} pictures in normal/ and anomalous/; give 9 to {MOST_FILES:,} of {', '.join(SUFFIXES)}"
        )
    return paths, np.array([float(path.parent.name == "anomalous") for path in paths]), np.full(len(paths), "own")


def _pictures(paths: Sequence[Path]) -> Floats:
    """Return pictures of any size as [N, 1, SIDE, SIDE], grey and normalised."""
    small = [F.interpolate(_opened(path)[None, None], (SIDE, SIDE), mode="area")[0] for path in paths]
    found: Floats = ((torch.stack(small) / 255 - MEAN) / DEVIATION).numpy()
    return found


def _opened(path: Path) -> Tensor:
    """Return a picture's grey values [H, W] in 0..255."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # with its only user

    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise TaskError(f"{path}: {image.width}x{image.height} pixels; at most {MOST_PIXELS:,} are read")
            return torch.from_numpy(np.array(image.convert("L"))).float()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise TaskError(f"{path}: no picture ({error!s:.100}); give one that opens, or take it out") from error
