import numpy as np
from PIL import Image

from jaxvision.pictures import voc_palette
from jaxvision.tasks.segmentation_report import write_contact_sheet


def test_the_contact_sheet_has_a_row_an_example(tmp_path):
    image = np.full((10, 10, 3), 90, np.uint8)
    mask = np.zeros((10, 10), np.uint8)
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        write_contact_sheet(
            path, [(image, mask, mask + 1)] * count, class_names=("a", "b"), palette=voc_palette()
        )
    with Image.open(tmp_path / "1.png") as one, Image.open(tmp_path / "2.png") as two:
        assert two.height > one.height > 0
