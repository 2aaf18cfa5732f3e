# %% [markdown]
# # Segment your own images (语义分割)
#
# A class for every pixel. From annotations made with labelme, or in the layout of PASCAL VOC, to a trained U-Net: what is
# in the folder, classes that fill few pixels (类别不平衡) and the losses against them, training, mean IoU (平均交并比) and
# boundary IoU, images that are larger than those trained on, and the same by one command.
#
# Three minutes on a CPU. One device is enough, several share each batch. Nothing is downloaded: unless you name a
# folder, the notebook writes one in labelme's format, of real handwritten digits on drawn backgrounds.

# %% install
# One cell for Colab and for a clone. Colab's own JAX, built for its TPU or GPU, is never replaced.
import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys

REPOSITORY = ""  # @param {type:"string"}
# Empty: the clone that this lies in or beside. Else an address for pip: "git+https://HOST/OWNER/jaxvision".

specs = [importlib.util.find_spec(name) for name in ("jaxvision", "optax", "grain", "sklearn")]
if any(spec is None or spec.origin is None for spec in specs):  # a mere folder has no origin
    folders = (here := pathlib.Path.cwd(), *here.parents, here / "jaxvision")
    clone = next((folder for folder in folders if (folder / "jaxvision" / "__init__.py").is_file()), None)
    if not REPOSITORY and clone is None:
        raise RuntimeError("no clone of jaxvision here: set REPOSITORY above to its address")
    names = {dist.name for dist in importlib.metadata.distributions()} - {None, "jaxvision"}
    kept = sorted(name for name in names if name.startswith(("jax", "libtpu")))
    kept = [f"{name}=={importlib.metadata.version(name)}" for name in kept]
    source = f"jaxvision[colab] @ {REPOSITORY}" if REPOSITORY else f"{clone}[colab]"
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", source, *kept]).returncode:
        raise RuntimeError(f"pip could not install {source} beside {kept}: see its words above")
    importlib.invalidate_caches()

# %%
import contextlib
import json
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from PIL import Image as PillowImage

from jaxvision import data, losses, metrics, pictures, segmentation, training, weights, zoo
from jaxvision.data.convert import Conversion, convert
from jaxvision.optimizers import OptimizerOptions
from jaxvision.tasks import SegmentationData, SegmentationLossOptions, class_scores, segmentation_task

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same, with fewer images and steps
IMAGES = 24 if SMALL else 160
STEPS = 6 if SMALL else 150
SIZE = (64, 64)

ROOT = ""  # @param {type:"string"}
# Your folder; empty: the notebook makes one. On Colab upload a zip by the folder symbol at the left and unzip it.
KIND = "labelme"  # @param ["labelme", "voc", "folder", "camvid", "cityscapes", "coco", "ade20k"]

print(jax.devices())
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. A folder as labelme leaves it
#
# labelme keeps a JSON file beside each image: shapes, each with a label and its points. Here three classes are drawn: the
# round digits 0, 6, 8 and 9, the straight 1, 4 and 7, and the rest, each digit as one polygon (多边形) around its ink.

# %%
GROUPS = {"round": (0, 6, 8, 9), "straight": (1, 4, 7), "other": (2, 3, 5)}


def outline(mask, *, points=16):
    """A polygon around the true pixels: the farthest one in each direction from their middle."""
    rows, columns = np.nonzero(mask)
    middle = np.array([columns.mean(), rows.mean()])
    offsets = np.stack([columns, rows], axis=1) - middle  # [P, 2]
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # [points, 2]
    reach = np.maximum((offsets @ directions.T).max(axis=0), 1)  # [points]
    return (middle + 0.9 * reach[:, None] * directions).tolist()


def write_labelme(folder, scenes, count):
    """Images and labelme files of the first scenes."""
    folder.mkdir()
    names = {digit: name for name, digits in GROUPS.items() for digit in digits}
    for index in range(count):
        scene = scenes[index]
        PillowImage.fromarray(scene["image"]).save(folder / f"{index:04d}.png")
        shapes = [
            {
                "label": names[int(label) - 1],
                "points": outline(mask),
                "shape_type": "polygon",
                "group_id": None,
                "flags": {},
            }
            for mask, label in zip(scene["instance_masks"], scene["labels"], strict=True)
        ]
        height, width = scene["image"].shape[:2]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{index:04d}.png",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / f"{index:04d}.json").write_text(json.dumps(content))


if ROOT:
    root, kind = Path(ROOT), KIND
else:
    root, kind = folder / "annotated", "labelme"
    scenes = data.DigitScenes("train", size=SIZE, min_digits=2, max_digits=3, scale=(0.35, 0.6), seed=3)
    write_labelme(root, scenes, IMAGES)
options = SegmentationData(source=kind, root=root, size=SIZE, batch_size=16, flip=0.0)
train_source, _, test_source = options.open_sources()
names, palette = train_source.class_names, options.palette()
print(f"{len(train_source)} images to train on, {len(test_source)} to test on; classes: {', '.join(names)}")

rows = [(record["image"], record["mask"]) for record in (train_source[index] for index in range(4))]
sheet = pictures.contact_sheet(rows, class_names=names, palette=palette, titles=("image", "annotation"))
plt.figure(figsize=(6, 6 * sheet.shape[0] / sheet.shape[1]))
plt.imshow(sheet)
plt.axis("off")
plt.show()

# %% [markdown]
# ## 2. What is in it, and another format
#
# The converter (转换) writes any of these formats as palette PNGs in the layout of PASCAL VOC, and reports classes, pixel
# shares and broken files. The masks are the same in both.

# %%
if kind == "labelme":
    print(convert(Conversion("labelme", root, folder / "voc")))
    found = data.open_split(
        "voc", folder / "voc", "train", data.FormatOptions(labels=folder / "voc/class_names.txt")
    )
    assert len(found) == len(train_source) and np.array_equal(found[0]["mask"], train_source[0]["mask"])

# %% [markdown]
# ## 3. Classes that fill few pixels
#
# Most pixels are background, and a network that says "background" everywhere is mostly right. Weights (类别权重) by median
# frequency (Eigen and Fergus 2015, section 6.3.2) count each class's pixels as much as those of the median class.

# %%
counts = data.count_classes(train_source, len(names))
shares = counts.pixels / counts.pixels.sum()
balance = np.asarray(losses.median_frequency_weights(counts.pixels, counts.image_pixels))
print(
    {name: f"{share:.1%} x {weight:.2f}" for name, share, weight in zip(names, shares, balance, strict=True)}
)

figure, axes = plt.subplots(1, 2, figsize=(8, 2.6))
for axis, values, title in zip(
    axes, (shares, balance), ("share of pixels", "weight by median frequency"), strict=True
):
    axis.bar(names, values, color=palette[: len(names)] / 255, edgecolor="black")
    axis.set_title(title)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 4. Which loss?
#
# The same U-Net, images and steps under three losses (损失函数): cross entropy (交叉熵), the same with these class weights,
# and cross entropy + Dice, which looks at the overlap of each class and so at small ones as much as at large ones.
# `boundary IoU` (Cheng et al. 2021) counts only the pixels near a contour.

# %%
model = zoo.create("unet_bn", num_classes=len(names), features=(8, 16, 32) if SMALL else (16, 32, 64, 128))
choices = {
    "cross entropy": SegmentationLossOptions(),
    "class weights": SegmentationLossOptions(class_weights=tuple(balance.tolist())),
    "+ Dice": SegmentationLossOptions(dice=1.0),
}


def train(options_of_loss, steps):
    """The task, its variables after some steps, and the loss of each step."""
    task = segmentation_task(
        model, options_of_loss.build(len(names)), num_classes=len(names), image_size=SIZE
    )
    shapes = jax.eval_shape(task.init, jax.random.key(0))["params"]
    transform, _ = OptimizerOptions(learning_rate=3e-3).build(shapes, steps=steps)
    placement = training.make_placement("jit")
    state = placement.place(training.create_train_state(task, transform, seed=0))
    step, values = training.compile_step(task, transform, placement), []
    with contextlib.closing(options.batches(train_source, seed=0)) as batches:
        placed = data.prefetch_to_device(batches, placement.shard)
        for _, batch in zip(range(steps), placed, strict=False):
            state, found = step(state, batch)
            values.append(found["loss"])
    assert all(np.isfinite(values))
    return task, jax.device_get(state.variables()), np.asarray(values)


def evaluate(task, variables):
    """Scores of the whole test set, from counts that are added up; and the counts."""
    count, sums = jax.jit(task.counts), None
    for batch in options.ordered_batches(test_source):
        found = jax.device_get(count(variables, {name: jnp.asarray(batch[name]) for name in batch}))
        sums = found if sums is None else jax.tree.map(np.add, sums, found)
    return task.score(sums), sums


learned, tables, curves = {}, {}, {}
for name, choice in choices.items():
    task, learned[name], curves[name] = train(choice, STEPS)
    scores, sums = evaluate(task, learned[name])
    tables[name] = class_scores(sums["confusion"], names)
    print(f"{name:14s}", {key: round(float(value), 3) for key, value in scores.items()})

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for name, curve in curves.items():
    left.plot(curve, label=name)
left.set(xlabel="step", ylabel="loss", yscale="log")
left.legend()
for place, (name, table) in enumerate(tables.items()):
    right.bar(np.arange(len(names)) + 0.25 * (place - 1), [row["iou"] for row in table], 0.25, label=name)
right.set_xticks(range(len(names)), names)
right.set(ylabel="IoU of each class", ylim=(0, 1))
right.legend(fontsize=8)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 5. Truth, prediction, overlay

# %%
best = learned["+ Dice"]
normalize = options.eval_transform()
predict = jax.jit(lambda images: model.apply(best, images, train=False))
rows = []
for index in range(4):
    record = test_source[index]
    image = normalize(record, np.random.default_rng(0))["image"]
    mask = np.asarray(predict(image[None]).argmax(-1))[0].astype(np.uint8)
    rows.append(
        (record["image"], record["mask"], mask, pictures.overlay(record["image"], mask, palette=palette))
    )
sheet = pictures.contact_sheet(
    rows, class_names=names, palette=palette, titles=("image", "truth", "prediction", "overlay")
)
plt.figure(figsize=(8, 8 * sheet.shape[0] / sheet.shape[1]))
plt.imshow(sheet)
plt.axis("off")
plt.show()

# %% [markdown]
# ## 6. Which class is taken for which

# %%
confusion = np.asarray(sums["confusion"])
assert confusion.sum() == sum(int((test_source[i]["mask"] != 255).sum()) for i in range(len(test_source)))
assert np.isclose(scores["mean_iou"], float(metrics.mean_iou(confusion)))
display(
    Image(pictures.confusion_picture(confusion, folder / "confusion.png", class_names=names, in_percent=True))
)

# %% [markdown]
# ## 7. Larger images
#
# A network without fully connected layers takes any size, but every new size is a new compilation, and a huge image does
# not fit. `score_by_windows` (滑动窗口) scores overlapping windows of one size, blends them and is compiled once.

# %%
large = data.DigitScenes(
    "test", size=(128, 192), num_scenes=1, min_digits=5, max_digits=6, scale=(0.2, 0.3), seed=1
)[0]["image"]
scaled = options.normalize()({"image": large}, np.random.default_rng(0))["image"]
logits = segmentation.score_by_windows(predict, scaled, window=SIZE, batch_size=4)
assert logits.shape == (*large.shape[:2], len(names))
shown = pictures.overlay(large, logits.argmax(-1).astype(np.uint8), palette=palette)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for axis, image, title in zip(
    axes, (large, shown), ("image", "prediction, from windows of 64 x 64"), strict=True
):
    axis.imshow(image)
    axis.set_title(title)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 8. Keep it; and the same by one command
#
# ```sh
# python train/segmentation.py --data.source labelme --data.root my_labelme --data.size 256 256 \\
#     --loss.dice 1 --loss.class-weights median --model.name unet_resnet34 --model.weights resnet34.pth
# python train/segmentation.py predict --weights runs/labelme-unet_resnet34-1/weights.safetensors photos/ --out masks
# ```
#
# The script also makes checkpoints, stops and resumes, shares work over devices, and writes tables and pictures.

# %%
weights.write_safetensors(folder / "unet.safetensors", best)
again = weights.read_variables(folder / "unet.safetensors")
assert jax.tree.all(jax.tree.map(np.array_equal, again, dict(best)))
print((folder / "unet.safetensors").stat().st_size // 1024, "KiB of weights")
