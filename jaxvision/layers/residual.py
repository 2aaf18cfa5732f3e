"""Residual blocks: a branch of convolutions whose result is added to the block's input."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.conv import Conv
from jaxvision.layers.dropout import DropPath
from jaxvision.layers.initializers import Initializer, he_normal_fan_in, he_normal_fan_out
from jaxvision.layers.norm import BatchNorm


class _ResidualBlock(nn.Module):
    """What :class:`BasicBlock` and :class:`Bottleneck` share: shortcut, attention, drop path and sum."""

    features: int
    strides: int = 1
    dilation: int = 1
    first_dilation: int | None = None
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    attention: Callable[..., nn.Module] | None = None
    drop_path_rate: float = 0.0
    zero_init_residual: bool = False
    shortcut: str = "projection"
    kernel_init: Initializer = he_normal_fan_out
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, ceil(H / strides), ceil(W / strides), features]``.

        Raises:
          ValueError: if ``x`` is not a batch of images, the width of a bottleneck is not whole, ``shortcut``
            is unknown, or zeros are to be added to more channels than ``features``.
        """
        branch = self._branch(x, train)
        if self.attention is not None:
            branch = self.attention(dtype=self.dtype, name="attention")(branch, train=train)
        branch = DropPath(self.drop_path_rate, name="drop_path")(branch, train=train)
        if self.strides != 1 or x.shape[-1] != self.features:
            x = self._shortcut(x, train)  # [N, H / strides, W / strides, features]
        return self.activation(branch + x.astype(branch.dtype))

    def _shortcut(self, x: jax.Array, train: bool) -> jax.Array:
        if self.shortcut == "projection":
            x = self._conv(self.features, 1, "shortcut_conv", strides=self.strides)(x)
            return self.norm(dtype=self.dtype, name="shortcut_norm")(x, train=train)
        if self.shortcut != "zeros":
            raise ValueError(f"shortcut: expected 'projection' or 'zeros', got {self.shortcut!r}")
        more = self.features - x.shape[-1]
        if more < 0:
            raise ValueError(
                f"features: expected at least the {x.shape[-1]} channels of x for a shortcut of zeros, got "
                f"{self.features}; take shortcut='projection'"
            )
        x = jax.lax.slice(x, (0,) * 4, x.shape, (1, self.strides, self.strides, 1))
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (more // 2, more - more // 2)))

    def _branch(self, x: jax.Array, train: bool) -> jax.Array:
        raise NotImplementedError

    def _conv(
        self, features: int, size: int, name: str, *, strides: int = 1, dilation: int = 1, groups: int = 1
    ) -> Conv:
        """A convolution without bias that keeps the image's size at stride 1."""
        return Conv(
            features,
            size,
            strides,
            dilation * (size // 2),
            dilation,
            groups,
            use_bias=False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name=name,
        )

    def _last_norm(self, name: str) -> nn.Module:
        if self.zero_init_residual:
            return self.norm(dtype=self.dtype, name=name, scale_init=nn.initializers.zeros_init())
        return self.norm(dtype=self.dtype, name=name)

    def _first_dilation(self) -> int:
        return self.dilation if self.first_dilation is None else self.first_dilation


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and -34.

    Submodules: ``conv1``, ``norm1``, ``conv2``, ``norm2``; ``shortcut_conv``, ``shortcut_norm`` where the
    input has another shape than the output, unless ``shortcut`` is ``"zeros"``; ``attention`` where there is
    one.

    .. math:: y = \\sigma(\\mathrm{norm}_2(W_2\\, \\sigma(\\mathrm{norm}_1(W_1 x))) + W_s x)

    Attributes:
      features: number of output channels.
      strides: step of ``conv1`` and of the shortcut.
      dilation: of the 3x3 convolutions.
      first_dilation: of ``conv1``, if it differs: the block whose stride a dilated network takes away reads
        its input as before and has the new dilation from there on. None is ``dilation``.
      norm: makes a normalisation from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``.
      activation: elementwise function, after ``norm1`` and after the sum.
      attention: makes from ``dtype`` and ``name`` what reweights the branch in front of the sum, such as
        ``SqueezeExcitation`` (SE-ResNet) or ``CBAM``; None leaves it out.
      drop_path_rate: probability that training drops the branch of a sample; a ``"dropout"`` key must then be
        in ``rngs``.
      zero_init_residual: whether the last norm's scale starts at zero (``norm`` then needs a field
        ``scale_init``), so that the block starts as its shortcut (Goyal et al. 2017, section 5.1).
      shortcut: what makes the input's shape the output's: ``"projection"``, a 1x1 convolution and a norm
        (option B), or ``"zeros"``, every ``strides``-th pixel between channels of zeros, half of them before
        and half behind, without parameters (option A).
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      He et al. 2016, *Deep Residual Learning for Image Recognition*, section 3.2, figure 5 left; shortcuts of
      section 4.1, which does not say where the zeros of option A go. Equal to torchvision's, which has no
      dilated form; the second convolution of a block in a dilated network has the new dilation, so that the
      network computes the undilated one's values (Yu et al. 2017, *Dilated Residual Networks*, section 2).
    """

    def _branch(self, x: jax.Array, train: bool) -> jax.Array:
        first = self._first_dilation()
        x = self._conv(self.features, 3, "conv1", strides=self.strides, dilation=first)(x)
        x = self.activation(self.norm(dtype=self.dtype, name="norm1")(x, train=train))
        x = self._conv(self.features, 3, "conv2", dilation=self.dilation)(x)
        return self._last_norm("norm2")(x, train=train)


class Bottleneck(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: the block of ResNet-50 and up, ResNeXt and Wide ResNet.

    Submodules: ``conv1``, ``norm1``, ..., ``norm3``; ``shortcut_conv``, ``shortcut_norm`` where the input has
    another shape than the output; ``attention`` where there is one. The 3x3 convolution has
    ``int(features / expansion * base_width / 64) * groups`` channels.

    Attributes:
      features: number of output channels (4 times the number that torchvision calls planes).
      strides: step of ``conv2`` and of the shortcut.
      dilation: of ``conv2``.
      first_dilation: of ``conv2`` in place of ``dilation``; the only 3x3 convolution is the one that has the
        stride. See :class:`BasicBlock`.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function, after all norms but the last and after the sum.
      attention: makes from ``dtype`` and ``name`` what reweights the branch in front of the sum; None leaves
        it out.
      drop_path_rate: probability that training drops the branch of a sample. See :class:`BasicBlock`.
      zero_init_residual: whether the last norm's scale starts at zero. See :class:`BasicBlock`.
      shortcut: ``"projection"`` or ``"zeros"``. See :class:`BasicBlock`.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.
      expansion: output channels per channel of a plain block's 3x3 convolution.
      groups: groups of ``conv2``: the cardinality of ResNeXt.
      base_width: channels of a group where ``features / expansion`` is 64: 4 in ResNeXt 32x4d, 128 in Wide
        ResNet-50-2.

    References:
      He et al. 2016, figure 5 right; Xie et al. 2017, *Aggregated Residual Transformations for Deep Neural
      Networks*, figure 3c; Zagoruyko and Komodakis 2016, *Wide Residual Networks*. The stride is on the 3x3
      convolution as in torchvision ("ResNet v1.5"); the first paper has it on the 1x1 before.
    """

    expansion: int = 4
    groups: int = 1
    base_width: int = 64

    def _branch(self, x: jax.Array, train: bool) -> jax.Array:
        width = self._width()
        x = self._conv(width, 1, "conv1")(x)
        x = self.activation(self.norm(dtype=self.dtype, name="norm1")(x, train=train))
        first = self._first_dilation()
        x = self._conv(width, 3, "conv2", strides=self.strides, dilation=first, groups=self.groups)(x)
        x = self.activation(self.norm(dtype=self.dtype, name="norm2")(x, train=train))
        x = self._conv(self.features, 1, "conv3")(x)
        return self._last_norm("norm3")(x, train=train)

    def _width(self) -> int:
        planes, rest = divmod(self.features, self.expansion)
        width = int(planes * self.base_width / 64) * self.groups
        if rest or width < 1:
            raise ValueError(
                f"features: expected a multiple of the expansion {self.expansion} that leaves each group a "
                f"channel, got {self.features} with a base width of {self.base_width}; make it larger"
            )
        return width


class DarknetBlock(nn.Module):
    """1x1 and 3x3 convolutions, then the sum with the input: the block of Darknet-53.

    Submodules: ``conv1``, ``norm1``, ``conv2``, ``norm2``. Nothing follows the sum.

    Attributes:
      features: number of input and of output channels; ``conv1`` has half as many.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function after each norm.
      kernel_init: initialiser of the kernels; as in Darknet's own code.
      residual: whether the input is added; Darknet-19's pairs of the same convolutions do without.
      dtype: dtype of the computation.

    References:
      Redmon and Farhadi 2018, *YOLOv3: An Incremental Improvement*, section 2.4 and table 1.
    """

    features: int
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = functools.partial(nn.leaky_relu, negative_slope=0.1)
    kernel_init: Initializer = he_normal_fan_in
    residual: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, features]`` to the same shape.

        Raises:
          ValueError: if ``x`` has another number of channels, or that number is odd.
        """
        if x.shape[-1] != self.features or self.features % 2:
            raise ValueError(
                f"x: expected {self.features} channels, an even number, got {list(x.shape)}; the block keeps "
                "the number of channels and halves it inside"
            )
        branch = x
        for index, (features, size) in enumerate(((self.features // 2, 1), (self.features, 3)), start=1):
            branch = Conv(
                features,
                size,
                padding=size // 2,
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"conv{index}",
            )(branch)
            branch = self.norm(dtype=self.dtype, name=f"norm{index}")(branch, train=train)
            branch = self.activation(branch)
        return x.astype(branch.dtype) + branch if self.residual else branch
