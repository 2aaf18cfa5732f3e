"""LR-ASPP (Howard et al. 2019), the light head of MobileNetV3 for segmentation."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers import BatchNorm, Conv, ConvNormAct
from jaxvision.layers.initializers import Initializer
from jaxvision.ops import global_average_pool, resize
from jaxvision.segmentation.heads import enlarge_scores, take_level, torch_uniform
from jaxvision.segmentation.resolution import check_image_batch


class LRASPP(nn.Module):
    """A coarse map gated by its mean, enlarged, scored, and added to the scores of a finer map.

    Submodules: ``backbone``; ``conv`` (``conv`` and ``norm``), the coarse map's 1x1 convolution;
    ``gate_conv``, that of its mean over the image; ``skip_head`` and ``head``, the scores of the finer and of
    the coarse map.

    Images of any size pass, without padding: maps are enlarged to whatever size the finer ones have.

    Attributes:
      backbone: module that maps images to ``{"c1": ..., "c5": ...}``, of output stride 16.
      num_classes: number of classes K, background included.
      features: number of channels between the coarse map and its scores.
      level: the coarse feature map.
      skip_level: the finer one, of stride 8.
      align_corners: whether corner pixels lie on each other where a map is enlarged.
      norm: makes the normalisation of ``conv`` from ``dtype`` and ``name``.
      kernel_init: initialiser of the kernels behind the backbone.
      dtype: dtype of the computation behind the backbone; parameters, statistics and logits stay float32.

    References:
      Howard et al. 2019, *Searching for MobileNetV3*, section 6.4 and figure 10. As torchvision's the mean is
      that of the whole image, where the paper has windows of 49x49 pixels at every 16th and 20th one, for
      images of 1024x2048; but for biases, which start at zero, so is the initialisation.
    """

    backbone: nn.Module
    num_classes: int
    features: int = 128
    level: str = "c5"
    skip_level: str = "c3"
    align_corners: bool = False
    norm: Callable[..., nn.Module] | None = BatchNorm
    kernel_init: Initializer = torch_uniform
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Scores each pixel.

        Args:
          images: ``[N, H, W, C]``, floating, normalised, of any size that the backbone takes.
          train: whether batch statistics are those of training.

        Returns:
          Logits ``[N, H, W, K]``, float32.

        Raises:
          ValueError: for another shape or dtype, an empty image, or a feature map that the backbone lacks.
        """
        check_image_batch(images)
        maps = self.backbone(images, train=train)
        fine = take_level(maps, self.skip_level, field="skip_level")  # [N, H / 8, W / 8, C3]
        coarse = take_level(maps, self.level, field="level")  # [N, H / 16, W / 16, C5]
        options: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        x = ConvNormAct(self.features, 1, norm=self.norm, **options, name="conv")(coarse, train=train)
        mean = global_average_pool(coarse)[:, None, None]  # [N, 1, 1, C5]
        gate = nn.sigmoid(Conv(self.features, 1, use_bias=False, **options, name="gate_conv")(mean))
        x = resize(x * gate, fine.shape[1:3], align_corners=self.align_corners)
        scores = Conv(self.num_classes, 1, **options, name="skip_head")(fine)
        scores = scores + Conv(self.num_classes, 1, **options, name="head")(x)  # [N, H / 8, W / 8, K]
        return enlarge_scores(scores, (images.shape[1], images.shape[2]), align_corners=self.align_corners)
