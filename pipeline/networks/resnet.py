"""Residual networks for small pictures: ResNet-8 and ResNet-20.

He et al. 2016, "Deep Residual Learning for Image Recognition" (https://arxiv.org/abs/1512.03385), section 4.2: a 3x3
convolution, three stages of n basic blocks with 16, 32 and 64 channels, the picture halved before the second and the third,
a mean and a linear layer: 6n + 2 layers, so n = 3 is ResNet-20. With n = 1 it is the ResNet-8 of MLPerf Tiny (Banbury et al.
2021, https://arxiv.org/abs/2106.07597, table 1). Where the shape changes the shortcut is a 1x1 convolution (option B).

Letters: N batch, C channels, H height, W width, K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

WIDTHS = (16, 32, 64)
"""Channels of the three stages, He et al. 2016, section 4.2."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [N, C, H, W] to [N, width, H / stride, W / stride]."""

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activations."""
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(x)))))
        out: Tensor = self.relu2(inner + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """A residual network: `blocks` basic blocks in each stage, one stage for each of `widths`."""

    def __init__(self, classes: int = 10, *, blocks: int, widths: Sequence[int] = WIDTHS, in_channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        stages, channels = [], widths[0]
        for number, width in enumerate(widths):
            strides = [1 if number == 0 else 2] + [1] * (blocks - 1)
            inputs = [channels] + [width] * (blocks - 1)
            stages.append(
                nn.Sequential(*(BasicBlock(c, width, stride=s) for c, s in zip(inputs, strides, strict=True)))
            )
            channels = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, K] of pictures [N, C, H, W]."""
        logits: Tensor = self.classifier(self.stages(self.stem(x)).mean((2, 3)))
        return logits


def resnet8(classes: int = 10, *, widths: Sequence[int] = WIDTHS, in_channels: int = 1) -> ResNet:
    """Build ResNet-8: one block a stage, about 78,000 parameters for ten classes."""
    return ResNet(classes, blocks=1, widths=widths, in_channels=in_channels)


def resnet20(classes: int = 10, *, widths: Sequence[int] = WIDTHS, in_channels: int = 1) -> ResNet:
    """Build ResNet-20: three blocks a stage, about 272,000 parameters for ten classes."""
    return ResNet(classes, blocks=3, widths=widths, in_channels=in_channels)
