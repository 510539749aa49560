"""A small acoustic model out of convolutions over time, which can run as the sound comes in.

Depthwise separable convolutions over time (Kriman et al. 2019, "QuartzNet", https://arxiv.org/abs/1910.10261), shrunk. With `causal` each sees the
past alone: what it says of a moment is final as soon as that moment has been heard. Without, it sees as far ahead as back: better, and late.
Bands are channels, and the network's maps are [N, C, T, 1], so that files hold plain two-dimensional convolutions.

Letters: N batch, T frames, B bands, K letters of the alphabet with the blank.
"""

from torch import Tensor, nn
from torch.nn import functional as F

KERNEL, STRIDE = 9, 2


class Acoustic(nn.Module):
    """Features [N, 1, T, B] to logits [N, T / 2, K], for CTC (Graves et al. 2006, https://www.cs.toronto.edu/~graves/icml_2006.pdf)."""

    def __init__(self, *, bands: int, letters: int, width: int, blocks: int, causal: bool) -> None:
        super().__init__()
        self.stem = OverTime(bands, width, stride=STRIDE, causal=causal)
        self.blocks = nn.ModuleList(Separable(width, causal=causal) for _ in range(blocks))
        self.head = nn.Conv2d(width, letters, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu(self.stem(features.transpose(1, 3)))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x)[..., 0].transpose(1, 2)
        return logits


class OverTime(nn.Module):
    """A convolution over time and its norm; [N, C, T, 1] to [N, W, T / stride, 1]."""

    def __init__(self, channels: int, width: int, *, stride: int = 1, causal: bool, groups: int = 1) -> None:
        super().__init__()
        self.before, self.after = (KERNEL - 1, 0) if causal else (KERNEL // 2, KERNEL // 2)
        self.convolution = nn.Conv2d(channels, width, (KERNEL, 1), (stride, 1), groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved maps."""
        out: Tensor = self.norm(self.convolution(F.pad(x, (0, 0, self.before, self.after))))
        return out


class Separable(nn.Module):
    """Over time by itself, then across channels; added to what came in."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.over_time = OverTime(width, width, causal=causal, groups=width)
        self.across = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        out: Tensor = F.relu(x + self.norm(self.across(self.over_time(x))))
        return out


def acoustic(*, bands: int, letters: int, width: int, blocks: int, causal: bool = True) -> Acoustic:
    """Build one: `width` 48 and `blocks` 4 make about 30,000 parameters for 40 bands."""
    return Acoustic(bands=bands, letters=letters, width=width, blocks=blocks, causal=causal)
