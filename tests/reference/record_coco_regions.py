"""Records what COCO's own code makes of the cases of ``tests/oracles/region_cases.py``.

Run from the repository's root, where pycocotools is installed:
``python tests/reference/record_coco_regions.py``.
Writes ``tests/reference/coco_regions.npz``: packed runs, one text a case.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.region_cases import REFERENCE, polygons, regions


def main() -> None:
    from pycocotools import mask

    filled = [
        mask.frPyObjects([points.ravel().tolist()], *size)[0]["counts"] for points, size in polygons(300)
    ]
    packed = [mask.encode(np.asfortranarray(region.astype(np.uint8)))["counts"] for region in regions(60)]
    np.savez_compressed(
        REFERENCE,
        header=f"pycocotools {version('pycocotools')}",
        polygons=np.array([text.decode() for text in filled]),
        regions=np.array([text.decode() for text in packed]),
    )
    print(f"{REFERENCE.name}: {REFERENCE.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
