"""Feature pyramid: maps of several sizes that all know what the smallest one knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.conv import Conv
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.resize import resize

_lecun_uniform = nn.initializers.lecun_uniform()


class FeaturePyramid(nn.Module):
    """Feature pyramid network, as ``torchvision.ops.FeaturePyramidNetwork``.

    Each map of the backbone goes through a 1x1 convolution (``lateral2`` for ``c2``); from the smallest on,
    each is enlarged to the next by repeating pixels and added to it; each sum goes through a 3x3 convolution
    (``output2`` for ``p2``). No activation anywhere. Further, smaller levels are made of the smallest one:

    * ``"max_pool"``: one, every second pixel of the last, for region proposals (torchvision's
      ``LastLevelMaxPool``, which calls it "pool");
    * ``"conv_p5"``: two by 3x3 convolutions of stride 2 (``extra6`` and ``extra7``), of the last level of the
      pyramid and, after a ReLU, of the result (``LastLevelP6P7`` with equal channels);
    * ``"conv_c5"``: the same of the backbone's last map, as in RetinaNet's paper (``LastLevelP6P7`` with
      other channels).

    Attributes:
      features: number of channels of every level.
      levels: names of the backbone's maps to use, largest first: a letter and the level. Its other maps are
        left alone.
      extra: which further levels to make; None makes none.
      smooth: whether the sums go through the 3x3 convolutions; without them they are the levels, as in
        segmentation_models.pytorch's FPN.
      norm: makes a normalisation after each lateral and output convolution, which then has no bias, from
        ``dtype`` and ``name``; None, as in the paper, leaves it out.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Lin et al. 2017, *Feature Pyramid Networks for Object Detection*, section 3. Lin et al. 2017, *Focal
      Loss for Dense Object Detection*, section 4, "Feature Pyramid Network Backbone".
    """

    features: int = 256
    levels: Sequence[str] = ("c2", "c3", "c4", "c5")
    extra: Literal["max_pool", "conv_p5", "conv_c5"] | None = None
    smooth: bool = True
    norm: Callable[..., nn.Module] | None = None
    kernel_init: Initializer = _lecun_uniform
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, maps: Mapping[str, jax.Array], *, train: bool) -> dict[str, jax.Array]:
        """Maps ``{"c2": [N, H, W, C2], ...}`` to ``{"p2": [N, H, W, features], ...}``, largest first.

        The maps need not halve from level to level.

        Raises:
          ValueError: if a map is missing or is no batch of maps, or ``extra`` or ``levels`` is none of the
            above.
        """
        numbers = self._check(maps)
        top, inner = None, {}
        for number, level in reversed(list(zip(numbers, self.levels, strict=True))):
            lateral = self._conv(1, f"lateral{number}")(maps[level], train=train)
            if top is not None:
                lateral = lateral + resize(top, lateral.shape[1:3], method="nearest")
            inner[number] = top = lateral
        pyramid = {f"p{number}": inner[number] for number in numbers}
        if self.smooth:
            for name, value in pyramid.items():
                pyramid[name] = self._conv(3, f"output{name[1:]}")(value, train=train)
        return pyramid | self._extra_levels(pyramid, maps[self.levels[-1]], numbers[-1])

    def _conv(self, size: int, name: str) -> ConvNormAct:
        return ConvNormAct(
            self.features,
            size,
            norm=self.norm,
            activation=None,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=name,
        )

    def _extra_levels(
        self, pyramid: Mapping[str, jax.Array], last_map: jax.Array, last: int
    ) -> dict[str, jax.Array]:
        """The levels above ``p<last>``."""
        if self.extra is None:
            return {}
        smallest = pyramid[f"p{last}"]
        if self.extra == "max_pool":
            return {f"p{last + 1}": smallest[:, ::2, ::2]}
        names = [f"extra{last + 1}", f"extra{last + 2}"]
        first, second = (
            Conv(self.features, 3, 2, 1, kernel_init=self.kernel_init, dtype=self.dtype, name=name)
            for name in names
        )
        y = first(last_map if self.extra == "conv_c5" else smallest)
        return {f"p{last + 1}": y, f"p{last + 2}": second(nn.relu(y))}

    def _check(self, maps: Mapping[str, jax.Array]) -> list[int]:
        """Checks fields and maps; returns the number of each level."""
        if self.extra not in (None, "max_pool", "conv_p5", "conv_c5"):
            raise ValueError(f'extra: expected None, "max_pool", "conv_p5" or "conv_c5", got {self.extra!r}')
        if missing := [level for level in self.levels if level not in maps]:
            raise ValueError(
                f"maps: expected {', '.join(self.levels)}, got {', '.join(maps)} without "
                f"{', '.join(missing)}; name those that there are as levels"
            )
        if not self.levels or not all(level[1:].isdigit() for level in self.levels):
            raise ValueError(f'levels: expected names as ("c2", "c3"), got {tuple(self.levels)}')
        for level in self.levels:
            check_layout(level, maps[level], "N H W C", remedy="feature maps are [N, H, W, C]")
        return [int(level[1:]) for level in self.levels]
