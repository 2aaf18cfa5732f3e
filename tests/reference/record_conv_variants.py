"""Records what PyTorch computes for depthwise, separable, standardised and other convolution layers.

Run from the repository's root, where torch is installed: ``PYTHONPATH=tests python
tests/reference/record_conv_variants.py``. Writes ``tests/reference/conv_variants.npz``.
"""

import math
from typing import Any

from oracles.shared_weights import Case, conv_norm, record, torch_conv_norm, torch_images, torch_layout

ODD = (2, 7, 6, 4)


def depthwise(x: tuple[int, ...], kernel: tuple[int, ...], **options: Any) -> Case:
    """``conv1d``, ``conv2d`` or ``conv3d`` with as many groups as channels."""

    def torch(inputs: Any, variables: Any) -> Any:
        import torch.nn.functional as F

        convolution = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[len(x)]
        weight, bias = torch_layout(variables["params/kernel"]), variables.get("params/bias")
        return torch_images(convolution, inputs["x"], weight, bias, groups=x[-1], **options)

    return Case(torch, {"x": x}, {"params/kernel": kernel, "params/bias": kernel[-1:]})


def separable(order: str, *, train: bool, norm: bool = True, multiplier: int = 1) -> Case:
    """The two orders, spelt out; a dilated window of stride 2."""
    between = order == "mobilenet"
    wide = 4 * multiplier
    variables = conv_norm("depthwise", (3, 3, 1, wide), norm=norm and between, bias=between and not norm)
    variables |= conv_norm("pointwise", (1, 1, wide, 5), norm=norm)

    def torch(inputs: Any, variables: Any) -> Any:
        x = inputs["x"] if between else inputs["x"].relu()
        window = {"stride": 2, "padding": 2, "dilation": 2, "groups": 4}
        x = torch_conv_norm(variables, "depthwise", x, train=train, activation=between, **window)
        return torch_conv_norm(variables, "pointwise", x, train=train, activation=between)

    return Case(torch, {"x": ODD}, variables)


def mlp_conv(*, train: bool, norm: bool) -> Case:
    """Lin et al.'s block with three layers."""
    variables = conv_norm("conv", (5, 5, 4, 6), norm=norm)
    variables |= conv_norm("mlp1", (1, 1, 6, 5), norm=norm) | conv_norm("mlp2", (1, 1, 5, 3), norm=norm)

    def torch(inputs: Any, variables: Any) -> Any:
        x = torch_conv_norm(variables, "conv", inputs["x"], train=train, stride=2, padding=2)
        for path in ("mlp1", "mlp2"):
            x = torch_conv_norm(variables, path, x, train=train)
        return x

    return Case(torch, {"x": ODD}, variables)


def standardized(*, scaled: bool, groups: int = 1) -> Case:
    """Each output channel's kernel by ``batch_norm``, as timm's ``ScaledStdConv2d`` and ``StdConv2d`` do."""
    variables = {"params/kernel": (3, 3, 4 // groups, 6), "params/bias": (6,)}
    variables |= {"params/gain": (6,)} if scaled else {}

    def torch(inputs: Any, variables: Any) -> Any:
        import torch.nn.functional as F

        weight = torch_layout(variables["params/kernel"])
        factor = None
        if scaled:
            factor = 1.7 * variables["params/gain"] * math.prod(weight.shape[1:]) ** -0.5
        flat = F.batch_norm(
            weight.reshape(1, 6, -1), None, None, weight=factor, training=True, momentum=0.0, eps=1e-6
        )
        options = {"stride": 2, "padding": 1, "groups": groups}
        return torch_images(
            F.conv2d, inputs["x"], flat.reshape(weight.shape), variables["params/bias"], **options
        )

    return Case(torch, {"x": ODD}, variables)


def patches(x: tuple[int, ...], patch: tuple[int, ...]) -> Case:
    """A convolution whose stride is its kernel's size."""
    variables = {"params/kernel": (*patch, x[-1], 5), "params/bias": (5,)}

    def torch(inputs: Any, variables: Any) -> Any:
        import torch.nn.functional as F

        convolution = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[len(x)]
        weight = torch_layout(variables["params/kernel"])
        return torch_images(convolution, inputs["x"], weight, variables["params/bias"], stride=patch)

    return Case(torch, {"x": x}, variables)


CASES = {
    "depthwise": depthwise(ODD, (3, 3, 1, 4)),
    "depthwise two filters, strides": depthwise(ODD, (3, 2, 1, 8), stride=(2, 1), padding=(1, 0)),
    "depthwise dilated": depthwise(ODD, (3, 3, 1, 4), padding=2, dilation=2),
    "depthwise one image, 5x5": depthwise((1, 8, 9, 3), (5, 5, 1, 3), padding=2),
    "depthwise sequence": depthwise((2, 9, 4), (3, 1, 8), padding=1),
    "depthwise video": depthwise((2, 4, 5, 6, 2), (3, 3, 3, 1, 2), padding=1),
    "separable mobilenet train": separable("mobilenet", train=True),
    "separable mobilenet eval": separable("mobilenet", train=False, multiplier=2),
    "separable mobilenet without norm": separable("mobilenet", train=True, norm=False),
    "separable xception train": separable("xception", train=True, multiplier=2),
    "separable xception eval": separable("xception", train=False),
    "separable xception without norm": separable("xception", train=True, norm=False),
    "mlpconv": mlp_conv(train=True, norm=False),
    "mlpconv with norm, train": mlp_conv(train=True, norm=True),
    "standardized scaled": standardized(scaled=True),
    "standardized plain": standardized(scaled=False),
    "standardized scaled, groups": standardized(scaled=True, groups=2),
    "patches": patches((2, 8, 12, 3), (4, 4)),
    "patches uneven": patches((1, 6, 8, 2), (2, 4)),
    "patches of video": patches((2, 4, 6, 4, 2), (2, 3, 2)),
    "patches of a sequence": patches((2, 12, 3), (4,)),
}


if __name__ == "__main__":
    record("conv_variants", CASES)
