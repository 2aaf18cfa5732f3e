"""The CIFAR ResNet of He et al. 2016, section 4.2, in PyTorch, with the names of its published weights."""

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two 3x3 convolutions; shortcuts of option A have no parameters."""

    def __init__(self, inputs: int, outputs: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        self.zeros = 0
        if stride != 1 or inputs != outputs:
            if option == "A":
                self.zeros = outputs - inputs
            else:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.zeros:
            before = torch.zeros(x.shape[0], self.zeros // 2, *y.shape[2:])
            behind = torch.zeros(x.shape[0], self.zeros - self.zeros // 2, *y.shape[2:])
            x = torch.cat([before, x[:, :, ::2, ::2], behind], dim=1)
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """``forward`` gives the logits, ``features`` the outputs of the three stages."""

    def __init__(self, blocks, features=(16, 32, 64), *, num_classes=10, option="A") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, features[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(features[0])
        inputs = features[0]
        for stage, (count, width) in enumerate(zip(blocks, features, strict=True), start=1):
            layers = []
            for index in range(count):
                layers.append(Block(inputs, width, 2 if stage > 1 and index == 0 else 1, option))
                inputs = width
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.linear = nn.Linear(inputs, num_classes)

    def features(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        outputs = {}
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
            outputs[f"c{stage}"] = x
        return outputs

    def forward(self, x):
        return self.linear(self.features(x)["c3"].mean((2, 3)))
