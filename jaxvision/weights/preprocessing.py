"""How the images and clips that published weights were trained on had been prepared."""

from typing import NamedTuple


class Preprocessing(NamedTuple):
    """Resize, cut out the middle, scale to [0, 1], normalise; of a clip each frame alike.

    Attributes:
      size: ``(height, width)`` of the crop that the network sees.
      resize: pixels of the shorter side before the crop, the longer one in proportion; or ``(height,
        width)``, whatever the proportions, as for most clips.
      mean: of each channel, of values in [0, 1].
      std: of each channel, of values in [0, 1].
      interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``.
      frames: number of frames of a clip; None for networks of single images.
      antialias: whether a reduction averages over all pixels, as Pillow's, or interpolates between the
        nearest ones, as OpenCV's and that of torchvision's video networks.
      channel_order: ``"rgb"``, or ``"bgr"`` of weights that Caffe trained on images read by OpenCV; the order
        of the network's input, of ``mean`` and of ``std``.
    """

    size: tuple[int, int] = (224, 224)
    resize: int | tuple[int, int] = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    frames: int | None = None
    antialias: bool = True
    channel_order: str = "rgb"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch: ``(H, W, C)``, or ``(T, H, W, C)`` of a clip.

        >>> Preprocessing().input_shape
        (224, 224, 3)
        >>> Preprocessing(size=(112, 112), frames=16).input_shape
        (16, 112, 112, 3)
        """
        clip = () if self.frames is None else (self.frames,)
        return (*clip, *self.size, len(self.mean))
