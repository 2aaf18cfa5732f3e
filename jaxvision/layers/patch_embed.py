"""The patches of an image as vectors: the first layer of vision transformers."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.windows import LAYOUTS, Size, as_sizes, window_rank


class PatchEmbed(nn.Module):
    """Maps each patch of an image to a vector: a convolution whose stride is its kernel's size.

    Patches do not overlap, so it is one matrix product and no window slides. A class token and positions are
    the network's own.

    Parameters, float32: ``kernel`` ``[ph, pw, C, features]`` and ``bias`` ``[features]``, of the shapes and
    values of the convolution's.

    Attributes:
      features: size of the vectors.
      patch_size: a number for an image, or one an axis: ``(height, width)``; ``(time, height, width)`` makes
        tubes of video.
      flatten: whether to return a sequence of vectors, in row-major order, or a map of them.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result; by default that of the input and the parameters
        together.

    References:
      Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words*, equation 1. Arnab et al. 2021, *ViViT*,
      section 3.2, "tubelet embedding".
    """

    features: int
    patch_size: Size = 16
    flatten: bool = True
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[N, H, W, C]`` to ``[N, (H / ph) (W / pw), features]``, or to a map of these vectors.

        Raises:
          ValueError: if the image is not a whole number of patches high and wide.
        """
        rank = window_rank("patch_size", self.patch_size)
        patch = as_sizes("patch_size", self.patch_size, rank=rank)
        check_layout("x", x, LAYOUTS[rank], remedy=f"patches of size {self.patch_size} are cut of that")
        number, *sizes, channels = x.shape
        if any(size % side for size, side in zip(sizes, patch, strict=True)):
            raise ValueError(
                f"x: expected sizes that are multiples of the patch's, {list(patch)}, got {list(x.shape)}; "
                "resize or pad the images"
            )
        kernel = self.param("kernel", self.kernel_init, (*patch, channels, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        grid = [size // side for size, side in zip(sizes, patch, strict=True)]
        x = x.reshape(number, *itertools.chain(*zip(grid, patch, strict=True)), channels)
        order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
        x = x.transpose(order).reshape(number, math.prod(grid), math.prod(patch) * channels)
        y = x @ kernel.reshape(-1, self.features)  # [N, patches, features]
        y = y if bias is None else y + bias[None, None]
        return y if self.flatten else y.reshape(number, *grid, self.features)
