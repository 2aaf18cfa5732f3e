"""How the images that published weights were trained on had been prepared."""

from typing import NamedTuple


class Preprocessing(NamedTuple):
    """Resize the shorter side, cut out the middle, scale to [0, 1], normalise.

    Attributes:
      size: ``(height, width)`` of the crop that the network sees.
      resize: pixels of the shorter side before the crop, the longer one in proportion.
      mean: of each channel, of values in [0, 1].
      std: of each channel, of values in [0, 1].
      interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``, antialiased as Pillow's.
      frames: number of frames of a clip; None for networks of single images.
    """

    size: tuple[int, int] = (224, 224)
    resize: int = 256
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bilinear"
    frames: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input without the batch: ``(H, W, C)``, or ``(T, H, W, C)`` of a clip.

        >>> Preprocessing().input_shape
        (224, 224, 3)
        """
        clip = () if self.frames is None else (self.frames,)
        return (*clip, *self.size, len(self.mean))
