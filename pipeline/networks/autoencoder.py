"""A convolutional autoencoder for pictures: what it can't draw again is unlike what it learned from.

Hinton and Salakhutdinov 2006 (https://www.cs.toronto.edu/~hinton/science.pdf) for the idea; the layers are plain: strided 3x3 convolutions
down to an eighth, a narrow 1x1 convolution as the bottleneck, and transposed 2x2 convolutions of stride 2 back up, which overlap
nowhere and so leave no chequerboard (Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard).

Letters: N batch, C channels, H height, W width, both multiples of 8.
"""

from itertools import pairwise

from torch import Tensor, nn


class Autoencoder(nn.Module):
    """Pictures [N, C, H, W] to pictures [N, C, H, W] through `code` numbers at each of H / 8 x W / 8 places."""

    def __init__(self, *, width: int, code: int, channels: int = 1) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        down = [_down(before, after) for before, after in pairwise(widths)]
        up = [_up(before, after) for before, after in ((4 * width, 2 * width), (2 * width, width))]
        self.encoder = nn.Sequential(*down, nn.Conv2d(4 * width, code, 1))
        self.decoder = nn.Sequential(_norm(nn.Conv2d(code, 4 * width, 1, bias=False), 4 * width), *up)
        self.last = nn.ConvTranspose2d(width, channels, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Draw the pictures again."""
        drawn: Tensor = self.last(self.decoder(self.encoder(x)))
        return drawn


def autoencoder(*, width: int, code: int, channels: int = 1) -> Autoencoder:
    """Build one: with `width` 8 and `code` 4 about 12,000 parameters."""
    return Autoencoder(width=width, code=code, channels=channels)


def _down(before: int, after: int) -> nn.Sequential:
    return _norm(nn.Conv2d(before, after, 3, 2, 1, bias=False), after)


def _up(before: int, after: int) -> nn.Sequential:
    return _norm(nn.ConvTranspose2d(before, after, 2, 2, bias=False), after)


def _norm(layer: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())
