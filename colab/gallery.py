"""Makes the pictures of the README's gallery: what the library gives, from training runs to a file.

    python colab/gallery.py                   # trains what it needs: about six minutes on two cores
    python colab/gallery.py --full            # the segmentation network as long as its script does
    python colab/gallery.py --only words nodes --out pictures

Nothing is downloaded: digits come with scikit-learn, text with Python, the karate club with the library. The
runs are those of the scripts under train/; one that is finished in the folder of runs is used again.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageChops
from sklearn.manifold import TSNE

from jaxvision import zoo
from jaxvision.data import DIGIT_SCENES_CLASSES, Vocabulary
from jaxvision.inspect import feature_maps, grad_cam, receptive_fields
from jaxvision.metrics import confusion_matrix, mean_iou
from jaxvision.pictures import (
    channel_pictures,
    contact_sheet,
    digit_scenes_palette,
    heatmap_overlay,
    overlay,
    plot_word_map,
    sections_sheet,
    strongest_channels,
    write_png,
)
from jaxvision.sequence import keep_probability
from jaxvision.tasks import SegmentationData
from jaxvision.weights import read_metadata, read_word_vectors

ROOT = Path(__file__).parents[1]
RUNS: dict[str, tuple[str, ...]] = {
    "segmentation": ("train/segmentation.py",),
    "classification": ("train/classification.py",),
    "words": ("train/word2vec.py",),
    "nodes": ("train/node_embedding.py",),
    "graph": ("train/graph.py",),
}
SHORTER = {"segmentation": ("--run.steps", "2500", "--run.eval-every", "500")}
SIZE = (48, 48)  # of the scenes, as the script trains on them
SCENES = 24  # of the test part that the worst and the best are chosen from


class Segmented(NamedTuple):
    """The trained segmentation network and some test scenes.

    Attributes:
      model: the network.
      variables: of it.
      records: image and mask of each scene.
      inputs: the images as the network takes them, [N, H, W, 3].
      predictions: int32 [N, H, W].
    """

    model: Any
    variables: Any
    records: list[dict[str, Any]]
    inputs: jax.Array
    predictions: np.ndarray


def train(name: str, runs: Path, *, full: bool) -> Path:
    """Runs a script, or goes on with its run, unless that is done; returns the run's folder."""
    folder = runs.resolve() / name
    is_whole = full or name not in SHORTER or (folder / "weights.safetensors").exists()
    if not is_whole:
        folder = folder.with_name(f"{name}-short")
    if not (folder / "weights.safetensors").exists():
        where = ("--run.folder", str(folder.parent), "--run.name", folder.name)
        start = (*where, *(() if is_whole else SHORTER[name]))
        options = ("--resume", str(folder)) if folder.exists() else start
        subprocess.run([sys.executable, *RUNS[name], *options], cwd=ROOT, check=True)
    return folder


def segment_scenes(run: Path) -> Segmented:
    """Segments test scenes by the network of a run."""
    path = run / "weights.safetensors"
    options = json.loads(read_metadata(path)["config"])["model"]
    classes = len(DIGIT_SCENES_CLASSES)
    fields = {"features": tuple(options["features"]), "num_classes": classes}
    loaded = zoo.load(options["name"], weights=path, **fields)
    data = SegmentationData(size=SIZE)
    scenes, _ = data.open_part("test")
    records = [scenes[index] for index in range(SCENES)]
    normalise, rng = data.normalize(), np.random.default_rng(0)  # which draws nothing from it
    inputs = jnp.asarray(np.stack([normalise(record, rng)["image"] for record in records]))
    score = jax.jit(lambda variables, x: loaded.model.apply(variables, x, train=False))
    predictions = np.asarray(score(loaded.variables, inputs)).argmax(axis=-1)
    return Segmented(loaded.model, loaded.variables, records, inputs, predictions)


def scene_scores(found: Segmented) -> np.ndarray:
    """Mean IoU of each scene, over the classes that its truth or its prediction has."""
    classes = len(DIGIT_SCENES_CLASSES)
    truths = np.stack([record["mask"] for record in found.records]).astype(np.int32)
    count = jax.jit(jax.vmap(lambda truth, seen: confusion_matrix(truth, seen, classes)))
    return np.array([mean_iou(matrix) for matrix in np.asarray(count(truths, found.predictions))])


def draw_segmentation(path: Path, found: Segmented) -> None:
    """The best scene, one in the middle and the two worst: image, truth, prediction, overlay."""
    palette, scores = digit_scenes_palette(), scene_scores(found)
    order = np.argsort(-scores, kind="stable")
    chosen = [order[0], order[len(order) // 2], order[-2], order[-1]]
    rows = []
    for index in chosen:
        image, seen = found.records[index]["image"], found.predictions[index].astype(np.uint8)
        rows.append((image, found.records[index]["mask"], seen, overlay(image, seen, palette=palette)))
    names = ("best", "median", "last but one", "worst")
    captions = [f"{n} of {len(order)}: mean IoU {scores[i]:.2f}" for n, i in zip(names, chosen, strict=True)]
    titles = ("image", "ground truth", "prediction", "overlay")
    sheet = contact_sheet(
        rows, class_names=DIGIT_SCENES_CLASSES, palette=palette, titles=titles, captions=captions
    )
    write_png(path, sheet)


def draw_feature_maps(path: Path, found: Segmented) -> None:
    """The strongest channels down and up the U-Net, for one scene."""
    layers = {
        "encoder1_conv2": "encoder, 48 x 48",
        "encoder2_conv2": "encoder, 24 x 24",
        "encoder3_conv2": "encoder, 12 x 12",
        "decoder1_conv2": "decoder, 48 x 48 again",
    }
    maps = feature_maps(found.model, found.variables, found.inputs[:1], layers=list(layers), train=False)
    image = found.records[0]["image"]
    sections: list[tuple[str, list[tuple[str, np.ndarray]]]] = [("scene", [("", image)])]
    for layer, heading in layers.items():
        values = np.maximum(np.asarray(maps[layer])[0], 0)
        pictures = channel_pictures(values, strongest_channels(values, 8))
        sections.append((heading, [("", picture) for picture in pictures]))
    write_png(path, sections_sheet(sections, columns=8, cell=96))


def draw_gradcam(path: Path, found: Segmented) -> None:
    """Where the bottom of the U-Net speaks for each digit that it finds, by Seg-Grad-CAM."""
    sections = []
    explain = jax.jit(
        lambda image, label, where: grad_cam(
            found.model,
            found.variables,
            image,
            layer="decoder3_conv2",
            classes=label,
            where=where,
            train=False,
        )[0]
    )
    for index in range(4):
        image, seen = found.records[index]["image"], found.predictions[index]
        labels, pixels = np.unique(seen[seen > 0], return_counts=True)
        pictures = [("image", image)]
        for label in labels[pixels >= 15][:4]:  # fewer are pixels of a digit that is taken for another
            heat = explain(found.inputs[index][None], jnp.array([label]), jnp.asarray(seen == label)[None])
            picture = heatmap_overlay(image, np.asarray(heat)[0], alpha=0.8)
            pictures.append((DIGIT_SCENES_CLASSES[label], picture))
        sections.append((f"scene {index + 1}", pictures))
    write_png(path, sections_sheet(sections, columns=5, cell=128))


def draw_receptive_fields(path: Path, found: Segmented) -> None:
    """How much the middle of each level depends on each pixel, and the receptive field as a frame."""
    layers = ("encoder1_conv2", "encoder2_conv2", "encoder3_conv2", "encoder4_conv2")
    side = 96

    def maps(images: jax.Array, variables: Any) -> dict[str, jax.Array]:
        return feature_maps(found.model, variables, images, layers=layers, train=False)

    fields = receptive_fields(maps, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32), found.variables)
    variables = found.variables

    @jax.jit
    def influence(images: jax.Array, mixes: dict[str, jax.Array]) -> jax.Array:
        def middle(images: jax.Array) -> jax.Array:
            found = maps(images, variables)
            centres = {name: x[:, x.shape[1] // 2, x.shape[2] // 2] for name, x in found.items()}
            return sum((centres[name] @ mix).sum() for name, mix in mixes.items())

        return jnp.abs(jax.grad(middle)(images)).sum(axis=(0, -1))  # [H, W]

    figure = Figure(figsize=(12, 3.4), layout="constrained")
    images = jax.random.normal(jax.random.key(0), (16, side, side, 3))
    shapes = jax.eval_shape(maps, images, found.variables)
    for axes, layer in zip(figure.subplots(1, len(layers)), layers, strict=True):
        mixes = {
            name: jax.random.normal(jax.random.key(1), shape.shape[-1:]) * (name == layer)
            for name, shape in shapes.items()
        }
        axes.imshow(np.sqrt(np.asarray(influence(images, mixes))), cmap="magma")
        height, width = fields[layer]
        stride = side // shapes[layer].shape[1]
        centre = (shapes[layer].shape[1] // 2 + 0.5) * stride - 0.5
        corner = (centre - width / 2, centre - height / 2)
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#56B4E9", linewidth=1.5))
        axes.set(title=f"{layer}: {height} x {width}", xticks=[0, side - 1], yticks=[0, side - 1])
        axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    figure.savefig(path, dpi=80)


def draw_words(path: Path, run: Path, *, count: int = 140) -> None:
    """The most frequent words that say something, by the directions of their vectors."""
    vocabulary = Vocabulary.load(run / "vocabulary.txt")
    read = read_word_vectors(run / "vectors.bin")
    order = np.argsort(-vocabulary.counts, kind="stable")
    telling = order[keep_probability(vocabulary.counts, 1e-3)[order] >= 0.5][:count]
    vectors = read.vectors[telling] / np.linalg.norm(read.vectors[telling], axis=1, keepdims=True)
    points = TSNE(perplexity=12, init="pca", random_state=0).fit_transform(vectors)
    names = [read.words[index] for index in telling]
    title = f"{count} words of Python's documentation, by t-SNE of skip-gram's vectors"
    plot_word_map(path, names, points, title=title)


def copied(name: str) -> Callable[[Path, Path], None]:
    """What a run drew itself."""

    def copy(path: Path, run: Path) -> None:
        shutil.copyfile(run / name, path)

    return copy


def shrink(path: Path, *, width: int = 1000, colours: int = 128) -> None:
    """Makes a picture as small as a page shows it, without an empty margin at the right."""
    picture = Image.open(path).convert("RGB")
    box = ImageChops.invert(picture).getbbox() or (0, 0, *picture.size)
    picture = picture.crop((0, 0, min(box[2] + 8, picture.width), picture.height))
    if picture.width > width:
        size = (width, round(picture.height * width / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


# Name of the picture: the run that it is of, and what draws it from the run's folder.
PICTURES: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "mistakes": ("classification", copied("mistakes.png")),
    "curves": ("classification", copied("curves.png")),
    "words": ("words", draw_words),
    "nodes": ("nodes", copied("map.png")),
    "graph": ("graph", copied("map.png")),
}
# The same of those that look at the segmentation network.
SCENE_PICTURES: dict[str, Callable[[Path, Segmented], None]] = {
    "segmentation": draw_segmentation,
    "feature_maps": draw_feature_maps,
    "gradcam": draw_gradcam,
    "receptive_fields": draw_receptive_fields,
}


def main(arguments: Sequence[str]) -> int:
    """Trains, draws, and says what each picture takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*SCENE_PICTURES, *PICTURES]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "colab" / "gallery", help="folder for the pictures"
    )
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "gallery", help="folder of the runs")
    parser.add_argument("--full", action="store_true", help="train as long as the scripts do by default")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    found = None
    if any(name in SCENE_PICTURES for name in options.only):
        found = segment_scenes(train("segmentation", options.runs, full=options.full))
    for name in options.only:
        path = options.out / f"{name}.png"
        if name in SCENE_PICTURES:
            SCENE_PICTURES[name](path, found)
        else:
            run, draw = PICTURES[name]
            draw(path, train(run, options.runs, full=options.full))
        shrink(path)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
