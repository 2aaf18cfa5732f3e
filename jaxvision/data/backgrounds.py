"""Textured, cluttered backgrounds for composed scenes: noise, gradients, stripes, blobs and strokes.

Every function draws from a numpy ``Generator`` and works on float32 ``[H, W, 3]`` in 0..255.
"""

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["draw_clutter", "gradient", "luminance", "random_colour", "smooth_noise", "stripes", "textured"]

# ITU-R BT.601 luma, the same weights as Pillow's conversion from RGB to L.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luminance(colour: np.ndarray) -> np.ndarray:
    """Luma (ITU-R BT.601) of colours ``[..., 3]``, in the colours' own unit.

    >>> float(luminance(np.array([100.0, 100.0, 100.0], np.float32)).round(3))
    100.0
    """
    return colour @ LUMA


def random_colour(rng: np.random.Generator, brightness: float, *, saturation: float = 45.0) -> np.ndarray:
    """A random tint ``float32 [3]`` whose luma is ``brightness`` (up to clipping at 0 and 255)."""
    tint = rng.uniform(-saturation, saturation, 3).astype(np.float32)
    return np.clip(np.float32(brightness) + tint - luminance(tint), 0, 255)


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Noise in -1..1, ``float32 [H, W]``: a random grid of about ``cells`` a side, bicubic in between."""
    grid = rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
    height, width = size
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def gradient(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A linear ramp from -1 to 1 in a random direction, ``float32 [H, W]``."""
    angle = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, size[0], dtype=np.float32) * np.float32(np.sin(angle))
    x = np.linspace(-1, 1, size[1], dtype=np.float32) * np.float32(np.cos(angle))
    return (y[:, None] + x[None, :]) / np.float32(abs(np.sin(angle)) + abs(np.cos(angle)))  # [H, W]


def stripes(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A sine wave in -1..1 with 3 to 12 periods across the scene, at a random angle, ``float32 [H, W]``."""
    frequency, phase = rng.uniform(3, 12) * np.pi, rng.uniform(0, 2 * np.pi)
    return np.sin(gradient(rng, size) * np.float32(frequency) + np.float32(phase))


def textured(rng: np.random.Generator, size: tuple[int, int], *, strength: float) -> np.ndarray:
    """A background of two colours blended by smooth noise, with a gradient and stripes on top.

    Args:
      rng: numpy generator.
      size: (H, W) in pixels.
      strength: 0 (one flat colour) to 1 (strong texture).

    Returns:
      float32 [H, W, 3] in 0..255.
    """
    base = rng.uniform(40, 215)
    first = random_colour(rng, base)
    second = random_colour(rng, base + rng.uniform(-90, 90))
    blend = smooth_noise(rng, size, int(rng.integers(2, 10)))
    blend = blend + gradient(rng, size) * np.float32(rng.uniform(0, 1))
    if rng.random() < 0.4:
        blend = blend + stripes(rng, size) * np.float32(rng.uniform(0.2, 0.7))
    weight = np.float32(0.5) + np.float32(0.5 * strength) * blend
    return first + np.clip(weight, 0, 1)[..., None] * (second - first)  # [H, W, 3]


def draw_clutter(rng: np.random.Generator, image: np.ndarray, *, amount: int) -> np.ndarray:
    """Draws blobs, long lines, shallow arcs and polygons that are not digits.

    Args:
      rng: numpy generator.
      image: float32 [H, W, 3] in 0..255.
      amount: number of shapes.

    Returns:
      A new float32 [H, W, 3].
    """
    if amount == 0:
        return image
    height, width = image.shape[:2]
    side = min(height, width)
    canvas = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for shape in rng.integers(0, 4, amount):
        red, green, blue = (int(value) for value in random_colour(rng, rng.uniform(20, 235)))
        fill = (red, green, blue)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        line = max(1, round(side * rng.uniform(0.008, 0.03)))
        if shape == 0:  # a filled blob
            rx, ry = rng.uniform(0.02, 0.12, 2) * side
            draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)
        elif shape == 1:  # a line too long for a 1
            angle, reach = rng.uniform(0, np.pi), side * rng.uniform(0.4, 1.0)
            dx, dy = reach * np.cos(angle), reach * np.sin(angle)
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=fill, width=line)
        elif shape == 2:  # an arc too flat for a closed loop
            radius, start = side * rng.uniform(0.25, 0.8), rng.uniform(0, 360)
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.arc(box, start, start + rng.uniform(20, 110), fill=fill, width=line)
        else:  # a filled triangle
            corners = (np.array([x, y]) + rng.uniform(-0.15, 0.15, (3, 2)) * side).ravel().tolist()
            draw.polygon(corners, fill=fill)
    return np.asarray(canvas).astype(np.float32)
