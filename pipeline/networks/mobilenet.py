"""A small MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (https://arxiv.org/abs/1801.04381), table 1
for the block and section 3.3 for ReLU6. The stages are cut down for pictures of 28x28 to 64x64: table 2 of the paper halves
the picture five times, this one three times.

Letters: N batch, C channels, H height, W width, K classes.
"""

from torch import Tensor, nn

STAGES = ((16, 1, 1), (24, 2, 2), (32, 2, 2))
"""(channels, blocks, stride of the first block) of each stage."""


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, 3x3 depthwise, 1x1 back without an activation; a shortcut where shapes allow."""

    def __init__(self, channels: int, width: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.has_shortcut = stride == 1 and channels == width
        self.expand = _normed(nn.Conv2d(channels, hidden, 1, bias=False), hidden)
        self.depthwise = _normed(nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activations, [N, width, H / stride, W / stride]."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.has_shortcut else out


class MobileNet(nn.Module):
    """A strided 3x3 convolution, inverted residuals by STAGES, a 1x1 convolution to `head` channels, a linear layer."""

    def __init__(self, classes: int = 10, *, in_channels: int = 1, expansion: int = 4, head: int = 128) -> None:
        super().__init__()
        channels = STAGES[0][0]
        self.stem = _normed(nn.Conv2d(in_channels, channels, 3, 2, 1, bias=False), channels)
        blocks = []
        for width, repeats, first_stride in STAGES:
            for stride in [first_stride] + [1] * (repeats - 1):
                blocks.append(InvertedResidual(channels, width, stride=stride, expansion=expansion))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = _normed(nn.Conv2d(channels, head, 1, bias=False), head)
        self.classifier = nn.Linear(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, K] of pictures [N, C, H, W]."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))
        return logits


def mobilenet(classes: int = 10, *, in_channels: int = 1, expansion: int = 4, head: int = 128) -> MobileNet:
    """Build the small MobileNetV2: about 35,000 parameters for ten classes."""
    return MobileNet(classes, in_channels=in_channels, expansion=expansion, head=head)


def _normed(convolution: nn.Conv2d, width: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU6())
