import numpy as np
import pytest

from jaxvision.pictures import camvid_palette, cityscapes_palette, digit_scenes_palette, voc_palette


def test_voc_palette_is_the_published_one():
    # The colours that the VOC development kit documents for its 21 classes and void.
    published = [
        *[(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)],
        *[(128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128)],
        *[
            (64, 128, 128),
            (192, 128, 128),
            (0, 64, 0),
            (128, 64, 0),
            (0, 192, 0),
            (128, 192, 0),
            (0, 64, 128),
        ],
    ]
    palette = voc_palette()
    assert [tuple(colour) for colour in palette[:21].tolist()] == published
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256


@pytest.mark.parametrize("make", [voc_palette, camvid_palette, digit_scenes_palette])
def test_palettes_are_tables_of_distinct_colours(make):
    palette = make()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    shown = np.concatenate([palette[:11], palette[255:]]).astype(int)
    distances = np.abs(shown[:, None] - shown[None]).sum(-1) + 1000 * np.eye(12, dtype=int)
    assert distances.min() >= 64
    palette[:] = 7  # a table of one's own: others are not changed
    assert (make()[:11] != 7).any()


def test_camvid_palette():
    palette = camvid_palette()
    assert palette[[0, 3, 8, 255]].tolist() == [[128, 128, 128], [128, 64, 128], [64, 0, 128], [0, 0, 0]]


def test_cityscapes_palette():
    palette = cityscapes_palette()
    expected = [[128, 64, 128], [70, 130, 180], [220, 20, 60], [119, 11, 32], [0, 0, 0]]
    assert palette[[0, 10, 11, 18, 255]].tolist() == expected
    assert len(np.unique(palette[:19], axis=0)) == 19
