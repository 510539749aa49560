"""Ranges: how wide a tensor is, found while batches stream by, in memory that does not grow.

| method | range | source |
|---|---|---|
| moving | mean of the batches' minima and maxima, later a moving one | Jacob 2018, section 3.1 (https://arxiv.org/abs/1712.05877) |
| percentile | leaves 0.01 % of the values outside on both sides together | Wu 2020, section 4.2 (https://arxiv.org/abs/2004.09602) |
| mse | the clipping that makes the squared error of 8-bit rounding least | Sung 2015 (https://arxiv.org/abs/1511.06488); as in Nagel 2021, section 3.1 |

A range may serve several tensors of one network, which share a scale: it covers them all, and a batch counts once.

The last two keep a histogram whose bins double in width when a value falls outside, two bins becoming one.

Legend: `scale` and `zero_point` of q = round(x / scale) + zero_point, q in -128..127; a range always holds zero.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Method = Literal["moving", "percentile", "mse"]
METHODS: tuple[Method, ...] = ("moving", "percentile", "mse")

LOWEST, HIGHEST = -128, 127
MOVING_RATE = 0.01
"""Share of a new batch in the moving range, torch.ao's default `averaging_constant`."""
INSIDE = 0.9999
"""Share of the values inside a percentile range: 99.99 % did best over the networks of Wu 2020, table 5."""
BINS = 2048
SMALLEST_SCALE = 2.0**-20
"""Keeps a tensor that is always zero from a scale of zero; XNNPACK refuses output scales far below its inputs'."""


def scale_and_zero_point(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the affine int8 parameters of a range, widened to hold zero: scale float32 [], zero point int32 []."""
    low, high = low.clamp(max=0.0).double(), high.clamp(min=0.0).double()
    scale = ((high - low) / (HIGHEST - LOWEST)).clamp(min=SMALLEST_SCALE).float()
    zero_point = (LOWEST - torch.round(low / scale)).clamp(LOWEST, HIGHEST)
    return scale, zero_point.to(torch.int32)


class Range(nn.Module):
    """What is known of one tensor's range; `low` and `high` are buffers, so that a checkpoint holds them."""

    low: Tensor
    high: Tensor
    batches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, x: Tensor, *, same_batch: bool = False) -> None:
        """Take x [...] into account: a batch's first tensor, or one more of the batch that came last."""
        raise NotImplementedError


class MovingRange(Range):
    """The mean over the first batches, then a moving mean that follows a network in training.

    `before` is the range without the batch that came last, `seen` that batch's own.
    """

    before: tuple[Tensor, Tensor]
    seen: tuple[Tensor, Tensor]

    @torch.no_grad()
    def update(self, x: Tensor, *, same_batch: bool = False) -> None:
        """Take x [...] into account: a batch's first tensor, or one more of the batch that came last."""
        low, high = x.min(), x.max()
        if same_batch:
            low, high = torch.minimum(low, self.seen[0]), torch.maximum(high, self.seen[1])
        else:
            self.batches += 1
            self.before = (self.low.clone(), self.high.clone())
        self.seen = (low, high)
        rate = max(1.0 / int(self.batches), MOVING_RATE)
        for end, was, now in zip((self.low, self.high), self.before, self.seen, strict=True):
            end.copy_(was + (now - was) * rate)  # in its place: DDP passes on the buffers that it saw at first


class HistogramRange(Range):
    """A range chosen from a histogram of all values seen."""

    counts: Tensor
    edge: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.float64))
        self.register_buffer("edge", torch.zeros(()))

    @torch.no_grad()
    def update(self, x: Tensor, *, same_batch: bool = False) -> None:
        """Take x [...] into account: a batch's first tensor, or one more of the batch that came last."""
        self.batches += not same_batch
        reach = float(x.abs().max())
        if reach == 0.0 and float(self.edge) == 0.0:
            return
        if not math.isfinite(reach + float(self.edge)):  # no bins reach there; whoever asks for the range sees it
            self.edge = self.high = torch.full_like(self.edge, math.inf)
            return
        self._widen(reach)
        edge = float(self.edge)
        self.counts += torch.histc(x.detach().float(), bins=BINS, min=-edge, max=edge).double()
        self.low, self.high = self.choose()

    def choose(self) -> tuple[Tensor, Tensor]:
        """Return the range that the counts ask for."""
        raise NotImplementedError

    def centres(self) -> Tensor:
        """Return the bins' middles [BINS]."""
        width = 2 * self.edge.double() / BINS
        return -self.edge.double() + width * (torch.arange(BINS, dtype=torch.float64, device=width.device) + 0.5)

    def _widen(self, reach: float) -> None:
        """Double the bins until they reach; the histogram is symmetric, so that a doubling keeps its middle."""
        if float(self.edge) == 0.0:
            self.edge = torch.full_like(self.edge, reach)
        while float(self.edge) < reach:
            pairs = self.counts.reshape(-1, 2).sum(1)
            quarter = BINS // 4
            self.counts = torch.cat([torch.zeros_like(pairs[:quarter]), pairs, torch.zeros_like(pairs[:quarter])])
            self.counts = self.counts.contiguous()
            self.edge = self.edge * 2

    def _seen(self) -> tuple[Tensor, Tensor]:
        filled = torch.nonzero(self.counts).reshape(-1)
        half = self.edge.double() / BINS
        centres = self.centres()
        return centres[filled[0]] - half, centres[filled[-1]] + half


class PercentileRange(HistogramRange):
    """Leaves the same small share outside on either side."""

    def choose(self) -> tuple[Tensor, Tensor]:
        """Return the range that the counts ask for."""
        share = torch.cumsum(self.counts, 0) / self.counts.sum()
        tail = (1 - INSIDE) / 2
        first = int(torch.searchsorted(share, tail, right=True))
        last = int(torch.searchsorted(share, 1 - tail))
        half = self.edge.double() / BINS
        centres = self.centres()
        return (centres[first] - half).float(), (centres[min(last, BINS - 1)] + half).float()


class MseRange(HistogramRange):
    """Tries clippings of the range seen and keeps that with the least squared error over the histogram."""

    STEPS = 40

    def choose(self) -> tuple[Tensor, Tensor]:
        """Return the range that the counts ask for."""
        low, high = self._seen()
        shares = torch.linspace(1.0, 1.0 / self.STEPS, self.STEPS, dtype=torch.float64)
        errors = torch.stack([self._error(low * share, high * share) for share in shares.tolist()])
        best = float(shares[int(torch.argmin(errors))])
        return (low * best).float(), (high * best).float()

    def _error(self, low: Tensor, high: Tensor) -> Tensor:
        scale, zero_point = scale_and_zero_point(low, high)
        x = self.centres()
        q = (torch.round(x / scale) + zero_point).clamp(LOWEST, HIGHEST)
        return (((q - zero_point) * scale - x) ** 2 * self.counts).sum()


RANGES: dict[Method, type[Range]] = {"moving": MovingRange, "percentile": PercentileRange, "mse": MseRange}
