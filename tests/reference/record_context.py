"""Records what PyTorch and torchvision compute for ASPP, pyramid pooling and the feature pyramid.

Run from the repository's root, where torch is installed: ``PYTHONPATH=tests python
tests/reference/record_context.py``. Writes ``tests/reference/context.npz``.
"""

from typing import Any

from oracles.shared_weights import Case, conv_norm, record, torch_conv_norm, torch_names

Shapes = dict[str, tuple[int, ...]]


def aspp(x: tuple[int, ...], rates: tuple[int, ...], *, train: bool) -> Case:
    """torchvision's ``ASPP``, without its dropout, which is tested by itself."""
    features = 4
    layers = {"branch0": "convs.0", "pool": f"convs.{len(rates) + 1}.pool", "project": "project"}
    layers |= {f"branch{index}": f"convs.{index}" for index in range(1, len(rates) + 1)}
    variables, prefixes = {}, {}
    for ours, theirs in layers.items():
        inputs = features * (len(rates) + 2) if ours == "project" else x[-1]
        size = 3 if ours.startswith("branch") and ours != "branch0" else 1
        variables |= conv_norm(ours, (size, size, inputs, features))
        prefix, first = (theirs.removesuffix(".pool"), 1) if theirs.endswith(".pool") else (theirs, 0)
        prefixes |= {f"{ours}/conv": f"{prefix}.{first}", f"{ours}/norm": f"{prefix}.{first + 1}"}

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        from torchvision.models.segmentation.deeplabv3 import ASPP

        module = ASPP(x[-1], rates, features).train(train)
        module.project[3] = torch.nn.Identity()
        weights = torch_names(prefixes, variables)
        known = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
        assert weights.keys() == known
        images = inputs["x"].permute(0, 3, 1, 2)
        return torch.func.functional_call(module, weights, (images,)).permute(0, 2, 3, 1)

    return Case(torch, {"x": x}, variables)


def separable_aspp(*, train: bool) -> Case:
    """DeepLabV3+: the dilated convolutions are depthwise and pointwise, normalised and activated each."""
    x, rates, features = (3, 7, 6, 4), (2, 3), 5
    variables = conv_norm("branch0", (1, 1, 4, features)) | conv_norm("pool", (1, 1, 4, features))
    for index in (1, 2):
        variables |= conv_norm(f"branch{index}/depthwise", (3, 3, 1, 4))
        variables |= conv_norm(f"branch{index}/pointwise", (1, 1, 4, features))
    variables |= conv_norm("project", (1, 1, 4 * features, features))

    def torch(inputs: Any, variables: Any) -> Any:
        import torch

        images = inputs["x"]
        branches = [torch_conv_norm(variables, "branch0", images, train=train)]
        for index, rate in enumerate(rates, start=1):
            window = {"padding": rate, "dilation": rate, "groups": 4}
            y = torch_conv_norm(variables, f"branch{index}/depthwise", images, train=train, **window)
            branches.append(torch_conv_norm(variables, f"branch{index}/pointwise", y, train=train))
        mean = torch_conv_norm(variables, "pool", images.mean((1, 2), keepdim=True), train=train)
        branches.append(mean.expand(-1, x[1], x[2], -1))
        return torch_conv_norm(variables, "project", torch.cat(branches, -1), train=train)

    return Case(torch, {"x": x}, variables)


def pyramid_pooling(
    x: tuple[int, ...], bins: tuple[int, ...], *, train: bool, align_corners: bool = True, features: int = 0
) -> Case:
    """PSPNet's module as its authors' code has it, spelt out."""
    width = features or x[-1] // len(bins)
    variables: Shapes = {}
    for size in bins:
        variables |= conv_norm(f"bin{size}", (1, 1, x[-1], width))

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        import torch.nn.functional as F

        maps = [inputs["x"]]
        for size in bins:
            y = F.adaptive_avg_pool2d(inputs["x"].permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
            y = torch_conv_norm(variables, f"bin{size}", y, train=train).permute(0, 3, 1, 2)
            y = F.interpolate(y, x[1:3], mode="bilinear", align_corners=align_corners)
            maps.append(y.permute(0, 2, 3, 1))
        return torch.cat(maps, -1)

    return Case(torch, {"x": x}, variables)


def feature_pyramid(
    maps: Shapes, *, extra: str | None = None, norm: bool = False, train: bool = False, features: int = 3
) -> Case:
    """``torchvision.ops.FeaturePyramidNetwork``; ``p<n>`` of map ``c<n>``."""
    variables: Shapes = {}
    prefixes = {}
    for index, (name, shape) in enumerate(maps.items()):
        number = name[1:]
        variables |= conv_norm(f"lateral{number}", (1, 1, shape[-1], features), norm=norm)
        variables |= conv_norm(f"output{number}", (3, 3, features, features), norm=norm)
        for ours, theirs in ((f"lateral{number}", "inner_blocks"), (f"output{number}", "layer_blocks")):
            prefixes |= {f"{ours}/conv": f"{theirs}.{index}.0", f"{ours}/norm": f"{theirs}.{index}.1"}
    last, channels = int(number), features if extra == "conv_p5" else shape[-1]
    if extra in ("conv_p5", "conv_c5"):
        for step, inputs in ((1, channels), (2, features)):
            variables |= {f"params/extra{last + step}/kernel": (3, 3, inputs, features)}
            variables |= {f"params/extra{last + step}/bias": (features,)}
            prefixes[f"extra{last + step}"] = f"extra_blocks.p{5 + step}"

    def torch(inputs: Any, variables: Any) -> Any:
        import torch
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

        blocks = {"max_pool": LastLevelMaxPool, "conv_p5": LastLevelP6P7, "conv_c5": LastLevelP6P7}
        block = blocks[extra](*(() if extra == "max_pool" else (channels, features))) if extra else None
        normalisation = torch.nn.BatchNorm2d if norm else None
        widths = [shape[-1] for shape in maps.values()]
        module = FeaturePyramidNetwork(widths, features, block, normalisation).train(train)
        weights = torch_names(prefixes, variables)
        known = {name for name in module.state_dict() if not name.endswith("num_batches_tracked")}
        assert weights.keys() == known
        images = {name: value.permute(0, 3, 1, 2) for name, value in inputs.items()}
        levels = torch.func.functional_call(module, weights, (images,)).values()
        first = int(next(iter(maps))[1:])
        return {f"p{number}": level.permute(0, 2, 3, 1) for number, level in enumerate(levels, start=first)}

    return Case(torch, maps, variables)


PYRAMID = {"c2": (2, 9, 11, 2), "c3": (2, 5, 6, 3), "c4": (2, 3, 3, 3), "c5": (2, 2, 2, 4)}
THREE = {"c3": (1, 8, 8, 2), "c4": (1, 4, 4, 3), "c5": (1, 2, 2, 4)}
CASES = {
    "aspp train": aspp((3, 7, 6, 4), (2, 3, 9), train=True),
    "aspp eval": aspp((1, 6, 5, 3), (1, 4), train=False),
    "aspp separable train": separable_aspp(train=True),
    "aspp separable eval": separable_aspp(train=False),
    "pooling train": pyramid_pooling((3, 7, 9, 8), (1, 2, 3, 6), train=True),
    "pooling eval": pyramid_pooling((1, 12, 6, 4), (1, 2, 3, 6), train=False),
    "pooling corners apart": pyramid_pooling(
        (2, 7, 8, 4), (1, 3), train=False, align_corners=False, features=3
    ),
    "pyramid": feature_pyramid(PYRAMID),
    "pyramid max pool": feature_pyramid(PYRAMID, extra="max_pool"),
    "pyramid p6 p7 of p5": feature_pyramid(THREE, extra="conv_p5", features=4),
    "pyramid p6 p7 of c5": feature_pyramid(THREE, extra="conv_c5"),
    "pyramid norm train": feature_pyramid(PYRAMID, norm=True, train=True),
    "pyramid norm eval": feature_pyramid(THREE, norm=True),
}


if __name__ == "__main__":
    record("context", CASES)
