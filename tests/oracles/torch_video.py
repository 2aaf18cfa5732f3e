"""The networks of ``video_cases`` in PyTorch. Import only where torch is installed.

Modules take ``[N, C, T, H, W]``. C3D and the network of Ji et al. are restated from the papers, C3D under the
names of its PyTorch port; the ResNets are torchvision's own blocks and forward pass.
"""

import jax
import numpy as np
import torch
import torch.nn.functional as F
from oracles.torch_run import model_outputs
from oracles.video_cases import CHANNELS, Case, seeded_clips
from torch import nn
from torchvision.models.video.resnet import (
    BasicBlock,
    Conv2Plus1D,
    Conv3DNoTemporal,
    Conv3DSimple,
    VideoResNet,
)

from jaxvision.ops import hardwired_channels

MAKERS = {"3d": Conv3DSimple, "2d": Conv3DNoTemporal, "2+1d": Conv2Plus1D}


class NarrowVideoResNet(VideoResNet):
    """torchvision's, whose own widths are fixed, for any widths: its stages and its forward pass."""

    def __init__(
        self, *, convolutions, blocks, features, stem_features, num_classes, stem_middle_features=None
    ):
        nn.Module.__init__(self)
        stem, middle = stem_features, stem_middle_features
        if middle is None:
            self.stem = nn.Sequential(
                nn.Conv3d(3, stem, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
                nn.BatchNorm3d(stem),
                nn.ReLU(),
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False), nn.BatchNorm3d(middle),
                nn.ReLU(),
                nn.Conv3d(middle, stem, (3, 1, 1), 1, (1, 0, 0), bias=False), nn.BatchNorm3d(stem), nn.ReLU(),
            )  # fmt: skip
        self.inplanes = stem
        for stage, (kind, count, width) in enumerate(
            zip(convolutions, blocks, features, strict=True), start=1
        ):
            layer = self._make_layer(BasicBlock, MAKERS[kind], width, count, 1 if stage == 1 else 2)
            setattr(self, f"layer{stage}", layer)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(features[-1], num_classes)


class C3D(nn.Module):
    """The paper's net; pool5 is padded as the PyTorch port's, or by ceil_mode as Caffe's poolings are."""

    def __init__(self, *, features=(64, 128, 256, 512, 512), hidden=4096, num_classes=487, ceil_mode=False):
        super().__init__()
        a, b, c, d, e = features
        self.conv1 = nn.Conv3d(3, a, 3, padding=1)
        self.conv2 = nn.Conv3d(a, b, 3, padding=1)
        self.conv3a, self.conv3b = nn.Conv3d(b, c, 3, padding=1), nn.Conv3d(c, c, 3, padding=1)
        self.conv4a, self.conv4b = nn.Conv3d(c, d, 3, padding=1), nn.Conv3d(d, d, 3, padding=1)
        self.conv5a, self.conv5b = nn.Conv3d(d, e, 3, padding=1), nn.Conv3d(e, e, 3, padding=1)
        self.pool5 = nn.MaxPool3d(2, ceil_mode=True) if ceil_mode else nn.MaxPool3d(2, padding=(0, 1, 1))
        self.fc6 = nn.Linear(e * 4 * 4, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)

    def features(self, x):
        maps = [F.max_pool3d(F.relu(self.conv1(x)), (1, 2, 2))]
        maps.append(F.max_pool3d(F.relu(self.conv2(maps[-1])), 2))
        maps.append(F.max_pool3d(F.relu(self.conv3b(F.relu(self.conv3a(maps[-1])))), 2))
        maps.append(F.max_pool3d(F.relu(self.conv4b(F.relu(self.conv4a(maps[-1])))), 2))
        maps.append(self.pool5(F.relu(self.conv5b(F.relu(self.conv5a(maps[-1]))))))
        return maps

    def forward(self, x):
        x = F.adaptive_avg_pool3d(self.features(x)[-1], (1, 4, 4)).flatten(1)  # as it is at 112x112
        return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))


class _Pool(nn.Module):
    """Subsampling of LeNet-5 over the frames of one channel."""

    def __init__(self, window, maps, frames):
        super().__init__()
        self.window = window
        self.scale, self.bias = (nn.Parameter(torch.empty(frames, maps)) for _ in range(2))

    def forward(self, x):
        frames = []
        for t in range(x.shape[2]):
            mean = F.avg_pool2d(x[:, :, t], self.window)
            frames.append(torch.tanh(mean * self.scale[t, :, None, None] + self.bias[t, :, None, None]))
        return torch.stack(frames, dim=2)


class _Channel(nn.Module):
    """C2, S3, C4 and S5 of one hard-wired channel: 2 sets of maps, then 3 of each of those."""

    def __init__(self, frames, kernels, windows):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 2, kernels[0])
        self.pool1 = _Pool(windows[0], 2, frames - 2)
        self.conv2 = nn.Conv3d(2, 6, kernels[1], groups=2)
        self.pool2 = _Pool(windows[1], 6, frames - 4)

    def forward(self, x):
        x = self.pool1(torch.tanh(self.conv1(x)))
        return self.pool2(torch.tanh(self.conv2(x)))


class Ji3DCNN(nn.Module):
    """The trainable part; the hard-wired layer is ours, which has an oracle of its own."""

    def __init__(self, *, frames, kernels, windows, last_kernel, features, num_classes):
        super().__init__()
        for name in CHANNELS:
            count = frames - 1 if name.startswith("flow") else frames
            setattr(self, name, _Channel(count, kernels, windows))
        maps = 6 * (3 * (frames - 4) + 2 * (frames - 5))
        self.conv3 = nn.Conv2d(maps, features, last_kernel)
        self.head = nn.Linear(features, num_classes, bias=False)

    def forward(self, clips):
        with jax.enable_x64(clips.dtype == torch.float64):
            channels = jax.jit(hardwired_channels)(np.moveaxis(clips.numpy(), 1, -1))
        maps = []
        for name in CHANNELS:
            channel = torch.from_numpy(np.array(getattr(channels, name))).permute(0, 4, 1, 2, 3)
            x = getattr(self, name)(channel)  # [N, 6, T, H, W]
            maps += [x[:, :, t] for t in range(x.shape[2])]
        return self.head(torch.tanh(self.conv3(torch.cat(maps, dim=1))).flatten(1))


_JI = {
    "ji_3dcnn": {"frames": 7, "kernels": ((3, 7, 7), (3, 7, 6)), "windows": (2, 3), "last_kernel": (7, 4)},
    "ji_3dcnn_kth": {
        "frames": 9,
        "kernels": ((3, 7, 9), (3, 7, 7)),
        "windows": (3, 3),
        "last_kernel": (4, 6),
    },
}


def torch_model(case: Case) -> nn.Module:
    if case.family == "video_resnet":
        return NarrowVideoResNet(num_classes=case.classes, **case.fields)
    if case.family == "c3d":
        ceil = "last_padding" in case.fields
        return C3D(features=case.fields["features"], hidden=6, num_classes=case.classes, ceil_mode=ceil)
    return Ji3DCNN(num_classes=case.classes, **_JI[case.family], **case.fields)


def torch_outputs(case: Case) -> dict:
    """As ``torch_run.torch_outputs``."""
    return model_outputs(torch_model(case), seeded_clips(case))
