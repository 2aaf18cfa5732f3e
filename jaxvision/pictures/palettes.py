"""Colours of class indices: uint8 [256, 3] tables, RGB, row 255 for void."""

import numpy as np

__all__ = ["camvid_palette", "cityscapes_palette", "digit_scenes_palette", "voc_palette"]

_VOID_COLOUR = (224, 224, 192)  # as in VOC


def voc_palette() -> np.ndarray:
    """The palette of PASCAL VOC: uint8 [256, 3].

    Bit 3k of the index goes to red, 3k + 1 to green, 3k + 2 to blue, from the highest bit of the colour down
    (the VOC development kit's colour map).

    >>> voc_palette()[[0, 1, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)[:, None]  # [256, 1]
    channel = np.arange(3)[None, :]  # [1, 3]
    colours = np.zeros((256, 3), np.int64)
    for k in range(3):
        colours |= ((index >> (3 * k + channel)) & 1) << (7 - k)
    return colours.astype(np.uint8)


def camvid_palette() -> np.ndarray:
    """CamVid's colours for the 11 classes of SegNet, then VOC's for higher indices; black for void."""
    palette = voc_palette()
    palette[:11] = [
        (128, 128, 128),  # sky
        (128, 0, 0),  # building
        (192, 192, 128),  # pole
        (128, 64, 128),  # road
        (60, 40, 222),  # pavement
        (128, 128, 0),  # tree
        (192, 128, 128),  # sign
        (64, 64, 128),  # fence
        (64, 0, 128),  # car
        (64, 64, 0),  # pedestrian
        (0, 128, 192),  # bicyclist
    ]
    palette[255] = 0
    return palette


def cityscapes_palette() -> np.ndarray:
    """Cityscapes' colours for its 19 classes, then VOC's for higher indices; black for void.

    The colours are those of the data set's scripts, ``cityscapesscripts/helpers/labels.py``.
    """
    palette = voc_palette()
    palette[:19] = [
        (128, 64, 128),  # road
        (244, 35, 232),  # sidewalk
        (70, 70, 70),  # building
        (102, 102, 156),  # wall
        (190, 153, 153),  # fence
        (153, 153, 153),  # pole
        (250, 170, 30),  # traffic light
        (220, 220, 0),  # traffic sign
        (107, 142, 35),  # vegetation
        (152, 251, 152),  # terrain
        (70, 130, 180),  # sky
        (220, 20, 60),  # person
        (255, 0, 0),  # rider
        (0, 0, 142),  # car
        (0, 0, 70),  # truck
        (0, 60, 100),  # bus
        (0, 80, 100),  # train
        (0, 0, 230),  # motorcycle
        (119, 11, 32),  # bicycle
    ]
    palette[255] = 0
    return palette


def digit_scenes_palette() -> np.ndarray:
    """Black for the background and ten colours easy to tell apart for the digits 0 to 9."""
    palette = voc_palette()
    palette[:11] = [
        (0, 0, 0),
        (230, 60, 60),
        (70, 180, 80),
        (250, 215, 50),
        (70, 120, 230),
        (245, 140, 40),
        (150, 70, 190),
        (80, 220, 230),
        (240, 80, 220),
        (190, 240, 90),
        (250, 190, 200),
    ]
    palette[255] = _VOID_COLOUR
    return palette
