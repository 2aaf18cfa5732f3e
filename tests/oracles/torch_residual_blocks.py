"""The cases of ``residual_block_cases`` in PyTorch: torchvision's blocks, or restatements from the papers.

Import only where torch is installed.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from oracles.network_cases import seeded_state_dict
from oracles.residual_block_cases import BlockCase, seeded_cotangent, seeded_input
from torch import nn
from torchvision.models import densenet, efficientnet, mobilenetv2, mobilenetv3, resnet
from torchvision.models.googlenet import Inception
from torchvision.ops import SqueezeExcitation


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """torchvision's ``downsample``."""
    return nn.Sequential(resnet.conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class SqueezedBasicBlock(resnet.BasicBlock):
    """Hu et al. 2018, figure 3: squeeze-and-excitation of the branch, in front of the sum."""

    def __init__(self, inputs: int, outputs: int, squeezed: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride, projection(inputs, outputs, stride))
        self.se = SqueezeExcitation(outputs, squeezed)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.se(self.bn2(self.conv2(y)))
        return F.relu(y + self.downsample(x))


class DarknetBlock(nn.Module):
    """Redmon and Farhadi 2018, table 1, with Darknet's leaky slope of 0.1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features // 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features // 2)
        self.conv2 = nn.Conv2d(features // 2, features, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x):
        y = F.leaky_relu(self.bn1(self.conv1(x)), 0.1)
        return x + F.leaky_relu(self.bn2(self.conv2(y)), 0.1)


class ConvReLU(nn.Module):
    """A convolution with bias, for GoogLeNet as in the paper."""

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, **options)

    def forward(self, x):
        return F.relu(self.conv(x))


def paper_inception() -> nn.Module:
    """torchvision's block without batch normalisation and with the 5x5 convolution that it lacks."""
    block = Inception(5, 2, 3, 4, 2, 3, 2, conv_block=ConvReLU)
    block.branch3[1] = ConvReLU(2, 3, kernel_size=5, padding=2)
    return block


class CBAM(nn.Module):
    """Woo et al. 2018, equations 1 to 3."""

    def __init__(self, features: int, reduction: int, size: int, *, bias: bool, norm: bool) -> None:
        super().__init__()
        hidden = features // reduction
        self.mlp = nn.Sequential(
            nn.Conv2d(features, hidden, 1, bias=bias), nn.ReLU(), nn.Conv2d(hidden, features, 1, bias=bias)
        )
        self.conv = nn.Conv2d(2, 1, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1) if norm else nn.Identity()

    def forward(self, x):
        scores = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        x = x * torch.sigmoid(scores)
        pooled = torch.stack([x.mean(1), x.max(1).values], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(pooled)))


def _v3(*config: Any) -> nn.Module:
    norm = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)
    return mobilenetv3.InvertedResidual(mobilenetv3.InvertedResidualConfig(*config, width_mult=1.0), norm)


def _mbconv(*config: Any) -> nn.Module:
    return efficientnet.MBConv(efficientnet.MBConvConfig(*config, num_layers=1), 0.0, nn.BatchNorm2d)


BLOCKS = {
    "basic": lambda: resnet.BasicBlock(6, 6),
    "basic_attention": lambda: SqueezedBasicBlock(4, 6, 3, 2),
    "bottleneck_grouped": lambda: resnet.Bottleneck(6, 4, 2, projection(6, 16, 2), groups=2, base_width=32),
    "bottleneck_dilated": lambda: resnet.Bottleneck(8, 2, base_width=128, dilation=2),
    "darknet": lambda: DarknetBlock(6),
    "squeeze": lambda: SqueezeExcitation(6, 2),
    "mobilenet_v2": lambda: mobilenetv2.InvertedResidual(5, 5, 1, 2.5),
    "mobilenet_v2_first": lambda: mobilenetv2.InvertedResidual(6, 4, 1, 1),
    # input, kernel, hidden, output, squeeze-and-excitation, activation, stride, dilation
    "mobilenet_v3": lambda: _v3(8, 5, 16, 8, True, "HS", 1, 1),
    "mobilenet_v3_dilated": lambda: _v3(8, 3, 24, 16, False, "RE", 1, 2),
    # expansion, kernel, stride, input, output
    "mbconv": lambda: _mbconv(2, 5, 2, 8, 8),
    "dense_block": lambda: densenet._DenseBlock(2, 4, bn_size=2, growth_rate=2, drop_rate=0.0),
    "transition": lambda: densenet._Transition(7, 3),
    "inception": lambda: Inception(5, 2, 3, 4, 2, 3, 2),
    "inception_paper": paper_inception,
    "cbam": lambda: CBAM(6, 2, 7, bias=False, norm=False),
    "cbam_authors": lambda: CBAM(6, 3, 3, bias=True, norm=True),
}


def torch_outputs(name: str, case: BlockCase) -> dict[str, Any]:
    """What ``residual_block_cases.our_outputs`` computes, in float64, and the shapes of the weights."""
    model = BLOCKS[name]()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = seeded_state_dict(shapes)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    model.double()
    images = torch.from_numpy(seeded_input(case)).double()
    outputs: dict[str, Any] = {"shapes": shapes}
    for mode in ("eval", "train"):
        model.train(mode == "train").zero_grad()
        x = images.clone().requires_grad_()
        y = model(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y.backward(torch.from_numpy(seeded_cotangent(tuple(y.shape))))
        outputs |= {f"{mode}/y": y.detach(), f"{mode}/x": x.grad}
    outputs |= {f"after/{key}": parameter.grad for key, parameter in model.named_parameters()}
    running = {key: value for key, value in model.named_buffers() if "running" in key}
    outputs |= {f"after/{key}": value for key, value in running.items()}
    return {
        key: value.float().contiguous().numpy() if key != "shapes" else value
        for key, value in outputs.items()
    }
