"""Dense blocks: each layer reads what all layers before it made (DenseNet)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.conv import Conv
from jaxvision.layers.dropout import Dropout
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops import average_pool


class DenseLayer(nn.Module):
    """Normalisation, activation, 1x1 convolution; then the same with a 3x3 convolution.

    Submodules: ``norm1``, ``conv1``, ``norm2``, ``conv2``. The paper's composite function H of a DenseNet-B:
    what it returns is to be concatenated with its input, which :class:`DenseBlock` does.

    Attributes:
      features: number of output channels, the paper's growth rate k.
      bottleneck: output channels of ``conv1``, as a multiple of ``features``.
      dropout_rate: share of the output dropped in training; a ``"dropout"`` key must then be in ``rngs``.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function after each norm.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Huang et al. 2017, *Densely Connected Convolutional Networks*, section 3; dropout as in section 4.2.
    """

    features: int
    bottleneck: int = 4
    dropout_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to new features ``[N, H, W, features]``.

        Raises:
          ValueError: if ``x`` is not a batch of images.
        """
        widths = (self.bottleneck * self.features, self.features)
        for index, (features, size) in enumerate(zip(widths, (1, 3), strict=True), start=1):
            x = self.activation(self.norm(dtype=self.dtype, name=f"norm{index}")(x, train=train))
            x = Conv(
                features,
                size,
                padding=size // 2,
                use_bias=False,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"conv{index}",
            )(x)
        return Dropout(self.dropout_rate)(x, train=train)


class DenseBlock(nn.Module):
    """Layers that each read the input and the output of every layer before, concatenated.

    .. math:: x_l = H_l([x_0, x_1, \\dots, x_{l-1}])

    Submodules: ``layer1``, ``layer2``, ..., each a :class:`DenseLayer`.

    Attributes:
      layers: number of layers.
      growth_rate: number of channels that each layer adds, the paper's k.
      bottleneck: as :class:`DenseLayer`.
      dropout_rate: as :class:`DenseLayer`.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function after each norm.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Huang et al. 2017, *Densely Connected Convolutional Networks*, equation 2 and figure 1.
    """

    layers: int
    growth_rate: int = 32
    bottleneck: int = 4
    dropout_rate: float = 0.0
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H, W, C + layers * growth_rate]``: the input comes first.

        Raises:
          ValueError: if ``x`` is not a batch of images.
        """
        for index in range(1, self.layers + 1):
            new = DenseLayer(
                self.growth_rate,
                self.bottleneck,
                self.dropout_rate,
                self.norm,
                self.activation,
                self.kernel_init,
                self.dtype,
                name=f"layer{index}",
            )(x, train=train)
            x = jnp.concatenate([x.astype(new.dtype), new], axis=-1)  # [N, H, W, C + index * growth_rate]
        return x


class Transition(nn.Module):
    """Between two dense blocks: fewer channels by a 1x1 convolution, half the size by average pooling.

    Submodules: ``norm``, ``conv``.

    Attributes:
      features: number of output channels; None is ``floor(compression * C)``.
      compression: the paper's theta.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function after the norm.
      kernel_init: initialiser of the kernel.
      dtype: dtype of the computation.

    References:
      Huang et al. 2017, *Densely Connected Convolutional Networks*, section 3, "Pooling layers" and
      "Compression". The activation, which the paper's text does not name there, is in its authors' code.
    """

    features: int | None = None
    compression: float = 0.5
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H // 2, W // 2, features]``.

        Raises:
          ValueError: if ``x`` is not a batch of images of at least two by two pixels.
        """
        features = self.features
        if features is None:
            features = int(self.compression * x.shape[-1])
        x = self.activation(self.norm(dtype=self.dtype, name="norm")(x, train=train))
        x = Conv(features, 1, use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype, name="conv")(
            x
        )  # [N, H, W, features]
        return average_pool(x, 2)  # [N, H // 2, W // 2, features]
