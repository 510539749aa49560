"""DS-CNN: a convolution, then depthwise separable ones, all of one width.

Zhang et al. 2017, "Hello Edge: Keyword Spotting on Microcontrollers" (https://arxiv.org/abs/1711.07128), section 3; each
depthwise and each pointwise convolution is followed by BatchNorm and ReLU, as in MobileNet. The paper's first
convolution is 10x4 over a spectrogram; here its kernel and stride are arguments, 3x3 and 2 by default, for pictures.

Letters: N batch, C channels, H height, W width, K classes.
"""

from itertools import chain

from torch import Tensor, nn


class DSCNN(nn.Module):
    """A first convolution of stride `stride`, then `blocks` depthwise separable convolutions of `width` channels."""

    def __init__(
        self,
        classes: int = 10,
        *,
        width: int = 64,
        blocks: int = 4,
        in_channels: int = 1,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (2, 2),
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        stem = nn.Conv2d(in_channels, width, kernel, stride, padding, bias=False)
        self.features = nn.Sequential(
            *_normed(stem, width),
            *chain.from_iterable(
                [
                    *_normed(nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False), width),
                    *_normed(nn.Conv2d(width, width, 1, bias=False), width),
                ]
                for _ in range(blocks)
            ),
        )
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, K] of pictures [N, C, H, W]."""
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def dscnn(classes: int = 10, *, width: int = 64, blocks: int = 4, in_channels: int = 1) -> DSCNN:
    """Build DS-CNN for pictures: about 21,000 parameters for ten classes."""
    return DSCNN(classes, width=width, blocks=blocks, in_channels=in_channels)


def _normed(convolution: nn.Conv2d, width: int) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]
