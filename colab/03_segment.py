# %% [markdown]
# # Segment your own images (语义分割)
#
# A class for every pixel. From annotations made with labelme, or in the layout of PASCAL VOC, to a trained U-Net (U-Net网络):
# what is in the folder, classes that fill few pixels (类别不平衡) and the losses against them, mean IoU (平均交并比) and boundary IoU
# (边界交并比), images that are larger than those trained on, and the same from the command line.
#
# Three minutes on a CPU. One device is enough (CPU, GPU or TPU), several share each batch. Nothing is downloaded: unless
# you give a folder, the notebook draws aerial pictures (航拍图) and writes them as labelme would.

# %% install
# One cell for Colab and for a clone. Colab's own JAX, built for its TPU or GPU, is never replaced.
import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess
import sys

REPOSITORY = ""  # @param {type:"string"}
# Empty: the clone that this lies in or beside. Else an address for pip: "git+https://HOST/OWNER/jaxvision".

specs = [importlib.util.find_spec(name) for name in ("jaxvision", "optax", "grain", "sklearn", "flatbuffers")]
if any(spec is None or spec.origin is None for spec in specs):  # a mere folder has no origin
    folders = (here := pathlib.Path.cwd(), *here.parents, here / "jaxvision")
    clone = next((folder for folder in folders if (folder / "jaxvision" / "__init__.py").is_file()), None)
    if not REPOSITORY and clone is None:
        raise RuntimeError("no clone of jaxvision here: set REPOSITORY above to its address")
    names = {dist.name for dist in importlib.metadata.distributions()} - {None, "jaxvision"}
    kept = sorted(name for name in names if name.startswith(("jax", "libtpu")))
    kept = [f"{name}=={importlib.metadata.version(name)}" for name in kept]
    old = [spec for spec in kept if re.match(r"jax==0\.\d\.", spec)]
    if old:
        raise RuntimeError(f"{old[0]} is too old, 0.10 is needed: choose a newer runtime, or upgrade it")
    source = f"jaxvision[colab] @ {REPOSITORY}" if REPOSITORY else f"{clone}[colab]"
    if subprocess.run([sys.executable, "-m", "pip", "install", "-q", source, *kept]).returncode:
        raise RuntimeError(f"pip could not install {source} beside {kept}: see its words above")
    importlib.invalidate_caches()

# %%
import contextlib
import json
import os
import shlex
import tempfile
import zipfile
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from PIL import Image as PillowImage
from PIL import ImageDraw

from jaxvision import data, losses, pictures, tasks, training, weights, zoo
from jaxvision.data.convert import Conversion, convert
from jaxvision.optimizers import OptimizerOptions
from jaxvision.tasks.segmentation_evaluation import evaluate_images, make_image_counts
from jaxvision.tasks.segmentation_predict import InferenceOptions, Segmenter, run_preparation, segment_files

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same with fewer images, steps and losses
SIDE = 64  # pixels that images are resized to; your own may need more
COUNT, STEPS, FEATURES = (24, 8, (8, 16)) if SMALL else (120, 200, (16, 32, 64))

UPLOAD = False  # @param {type:"boolean"}
# On Colab: asks for a zip of your folder. Elsewhere give the folder:
ROOT = ""  # @param {type:"string"}
KIND = "labelme"  # @param ["labelme", "voc", "folder", "camvid", "cityscapes", "coco", "ade20k"]

work = Path(tempfile.mkdtemp())
if UPLOAD and "google.colab" in sys.modules:
    from google.colab import files

    for name in files.upload():
        zipfile.ZipFile(name).extractall(work / "upload")
    inside = [path for path in (work / "upload").iterdir() if path.is_dir() and path.name != "__MACOSX"]
    ROOT = inside[0] if len(inside) == 1 else work / "upload"
print(jax.devices())

# %% [markdown]
# ## 1. What labelme writes
#
# Beside each picture lies a JSON file with its shapes: a label, a kind and points in pixels. Below, a large pond (池塘), houses
# and small cars are drawn, and their outlines kept in that format. The grey rocks are nobody's class: a detector of small
# things alone would take them for cars.

# %%
COLOURS = {
    "pond": [(60, 100, 150)],
    "house": [(150, 85, 65)],
    "car": [(240, 240, 235), (215, 60, 40), (240, 200, 60)],
}
HALF = {"pond": (9, 13), "house": (5, 8), "car": (2, 2.8)}  # of a side, or the radius, in pixels


def draw_shape(rng, label, size):
    """A shape of labelme at a random place: a circle by its centre and a point on it, or a polygon."""
    centre, half = rng.uniform(0.1, 0.9, 2) * size[::-1], rng.uniform(*HALF.get(label, (2, 2.8)))  # x, y
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = centre + half * np.array([[-1, -0.6], [1, -0.6], [1, 0.6], [-1, 0.6]]) @ turn
    points, kind = (
        (corners, "polygon") if label != "pond" else ([centre, centre + np.array([half, 0])], "circle")
    )
    return {
        "label": label,
        "shape_type": kind,
        "points": np.asarray(points).tolist(),
        "group_id": None,
        "flags": {},
    }


def draw_picture(rng, size):
    """A picture uint8 [H, W, 3], and its shapes; later ones lie over earlier ones, as in labelme."""
    share = size[0] * size[1] / SIDE**2
    amounts = {"pond": 1, "rock": 4, "house": 3, "car": 2}
    shapes = [
        draw_shape(rng, name, size) for name, count in amounts.items() for _ in range(round(count * share))
    ]
    ground = rng.uniform(60, 140, (5, 5, 1)) * [0.8, 1.0, 0.6]
    picture = PillowImage.fromarray(ground.astype(np.uint8)).resize(
        size[::-1], PillowImage.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    for shape in shapes:
        colour = rng.permutation(COLOURS.get(shape["label"], [(170, 170, 165)]))[0] + rng.integers(-15, 15, 3)
        points = np.array(shape["points"])
        if shape["shape_type"] == "circle":
            radius = points[1, 0] - points[0, 0]
            points = np.array([points[0] - radius, points[0] + radius])
        plot = draw.ellipse if shape["shape_type"] == "circle" else draw.polygon
        plot([tuple(point) for point in points], fill=tuple(map(int, colour)))
    pixels = np.asarray(picture) + rng.normal(0, 12, (*size, 3))
    return pixels.clip(0, 255).astype(np.uint8), [shape for shape in shapes if shape["label"] != "rock"]


def write_labelme(folder, count):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels, shapes = draw_picture(rng, (SIDE, SIDE))
        pictures.write_png(folder / f"{index:03d}.png", pixels)
        picture = {
            "imagePath": f"{index:03d}.png",
            "imageData": None,
            "imageHeight": SIDE,
            "imageWidth": SIDE,
        }
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, **picture}
        (folder / f"{index:03d}.json").write_text(json.dumps(content))


root, kind = (Path(ROOT), KIND) if ROOT else (work / "annotated", "labelme")
if not ROOT:
    write_labelme(root, COUNT)
    print((root / "000.json").read_text()[:230], "...")

# %% [markdown]
# ## 2. What is in the folder
#
# Every file is read once: how many pixels each class has, in how many images it is, which sizes there are, and all broken
# files at once, each with what is wrong. The converter (转换器) writes any of the formats as palette PNGs in the layout of
# PASCAL VOC or as images/ and masks/. Opened again, the masks (掩码) are the same.

# %%
options = tasks.SegmentationData(source=kind, root=root, size=(SIDE, SIDE), batch_size=8)
train_source, _, test_source = options.open_sources()
names, palette = train_source.class_names, options.palette()
print(data.format_report(data.report_source(train_source)))

if kind == "labelme":
    print(convert(Conversion("labelme", root, work / "voc")))
    found = data.open_split(
        "voc", work / "voc", "train", data.FormatOptions(labels=work / "voc/class_names.txt")
    )
    assert len(found) == len(train_source)
    assert all(
        np.array_equal(found[index]["mask"], train_source[index]["mask"]) for index in range(len(found))
    )

records = [train_source[index] for index in range(min(4, len(train_source)))]
rows = [
    (r["image"], r["mask"], pictures.overlay(r["image"], r["mask"], palette=palette, ignore_index=0))
    for r in records
]
titles = ("image", "annotation", "overlay")
display(
    PillowImage.fromarray(
        pictures.contact_sheet(rows, class_names=names, palette=palette, titles=titles, cell=180)
    )
)

# %% [markdown]
# ## 3. Rare classes
#
# A network that says "background" everywhere is right at most pixels. Class weights (类别权重) by median frequency, $w_k =
# \operatorname{median}(f) / f_k$ with $f_k$ the share of class $k$ in the images that hold it (Eigen and Fergus 2015,
# section 6.3.2), make all classes count alike.

# %%
counts = data.count_classes(train_source, len(names))
shares = counts.pixels / counts.pixels.sum()
balance = np.asarray(losses.median_frequency_weights(counts.pixels, counts.image_pixels))
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for axes, values, title in zip(
    panels, (shares, balance), ("share of pixels", "weight in the loss"), strict=True
):
    bars = axes.bar(names, values, color=palette[: len(names)] / 255, edgecolor="black")
    axes.bar_label(bars, [f"{value:.3f}" for value in values])
    axes.set(title=title, yscale="log", ylim=(values[values > 0].min() / 2, values.max() * 3))
plt.show()
assert np.isclose(shares.sum(), 1)

# %% [markdown]
# ## 4. A U-Net, and which loss?
#
# The U-Net (Ronneberger et al. 2015) goes down to coarse maps that see far, and up again beside the fine ones that know
# where. The same network, pictures and steps with four losses (损失函数):
#
# * cross entropy (交叉熵): every pixel counts alike, so the background rules;
# * cross entropy with the weights above;
# * cross entropy + Dice loss (Dice损失): $1 - 2 |P \cap T| / (|P| + |T|)$ of each class, be it large or small;
# * focal loss (焦点损失; Lin et al. 2017): pixels that are right already count less, by $(1 - p)^2$.
#
# IoU is $|P \cap T| / |P \cup T|$ of a class; boundary IoU (Cheng et al. 2021) takes only pixels near the outlines.

# %%
CHOICES = {
    "cross entropy": tasks.SegmentationLossOptions(),
    "class weights": tasks.SegmentationLossOptions(class_weights=tuple(balance.tolist())),
    "+ Dice": tasks.SegmentationLossOptions(dice=1.0),
    "focal": tasks.SegmentationLossOptions(cross_entropy=0.0, focal=1.0),
}
CHOICES = {name: CHOICES[name] for name in ("cross entropy", "+ Dice")} if SMALL else CHOICES
model = zoo.create("unet_bn", num_classes=len(names), features=FEATURES)
placement = training.make_placement("jit")
plain = tasks.SegmentationLossOptions().build(len(names))
count = make_image_counts(model, plain, num_classes=len(names), boundary_ratio=0.02)
count = placement.compile_count(count)


def train(choice):
    """Variables after STEPS steps, and the loss of each."""
    task = tasks.segmentation_task(
        model, choice.build(len(names)), num_classes=len(names), image_size=options.size
    )
    shapes = jax.eval_shape(task.init, jax.random.key(0))["params"]
    optimizer, _ = OptimizerOptions(learning_rate=3e-3).build(shapes, steps=STEPS)
    state = placement.place(training.create_train_state(task, optimizer, seed=0))
    step, curve = placement.compile_step(training.make_train_step(task, optimizer)), []
    with contextlib.closing(options.batches(train_source, seed=0)) as batches:
        for _, batch in zip(range(STEPS), data.prefetch_to_device(batches, placement.shard), strict=False):
            state, found = step(state, batch)
            curve.append(found["loss"])
    return placement.snapshot(state.variables()), np.asarray(jax.device_get(curve))


learned, curves, found = {}, {}, {}
for name, choice in CHOICES.items():
    learned[name], curves[name] = train(choice)
    batches = options.ordered_batches(test_source)
    found[name] = evaluate_images(count, placement.place(learned[name]), batches, placement, worst=4)
    scores = {key: found[name].scores[key] for key in ("mean_iou", "mean_boundary_iou", "pixel_accuracy")}
    print(f"{name:<14}", "  ".join(f"{key} {value:.3f}" for key, value in scores.items()))
    assert np.isfinite(curves[name]).all() and curves[name][-3:].mean() < curves[name][:3].mean()

# %% [markdown]
# Which is best depends on the data and the steps; the rare class tells them apart.

# %%
tables = {name: tasks.class_scores(f.confusion, names, boundary=f.boundary) for name, f in found.items()}
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.6), layout="constrained")
for name, curve in curves.items():
    left.semilogy(np.convolve(curve / curve[0], np.ones(5) / 5, "valid"), label=name)
left.set(xlabel="step", ylabel="loss / first loss", title="training (mean of 5 steps)")
left.grid(alpha=0.3)
for place, (name, table) in enumerate(tables.items()):
    offset = 0.2 * (place - (len(tables) - 1) / 2)
    right.bar(np.arange(len(names)) + offset, [row["iou"] for row in table], 0.2, label=name)
right.set_xticks(range(len(names)), names)
right.set(ylabel="IoU", ylim=(0, 1), title="test images")
right.grid(axis="y", alpha=0.3)
right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

best = max(found, key=lambda name: found[name].scores["mean_iou"])
print(f"the best of these by mean IoU: {best}")
for row in tables[best]:
    print(
        "  ".join(
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
        )
    )
iou = [row["iou"] for row in tables[best]]
assert np.isclose(np.nanmean(iou), found[best].scores["mean_iou"])  # nan: in no truth and no prediction

# %% [markdown]
# ## 5. Truth, prediction, overlay
#
# Four test images in order, then the two with the least IoU: what is worst teaches most.

# %%
predict = jax.jit(lambda images: model.apply(learned[best], images, train=False))
segmenter = Segmenter(
    predict, run_preparation(options.normalize(), options.size), InferenceOptions(), one_size=True
)
some, worst = range(min(4, len(test_source))), [position for _, position in found[best].worst[:2]]
records = [test_source[index] for index in (*some, *worst)]
masks = segmenter.labels([record["image"] for record in records])
rows = [
    (r["image"], r["mask"], mask, pictures.overlay(r["image"], mask, palette=palette, ignore_index=0))
    for r, mask in zip(records, masks, strict=True)
]
titles = ("image", "truth", "prediction", "overlay")
captions = [f"test image {index}" for index in some]
captions += [f"least IoU: test image {index}" for index in worst]
display(
    PillowImage.fromarray(
        pictures.contact_sheet(
            rows, class_names=names, palette=palette, titles=titles, captions=captions, cell=160
        )
    )
)
path = pictures.confusion_picture(
    found[best].confusion, work / "confusion.png", class_names=names, in_percent=True
)
display(Image(path.read_bytes(), width=420))
batches = options.ordered_batches(test_source)  # as they were scored: resized
assert found[best].confusion.sum() == sum((batch["labels"] != 255).sum() for batch in batches)

# %% [markdown]
# ## 6. A larger image, in sliding windows (滑动窗口)
#
# Without fully connected layers a network takes any size, but each new size is compiled anew, and a huge image does not
# fit into memory. Windows of one size overlap by half; their logits are blended with a Gaussian, which trusts the middle
# of a window more than its ends. The device holds one batch of windows, whatever the size of the image.
#
# A window must show things as large as the network learned them. Your own images were resized to SIDE, so six of them at
# that size make the larger image here; for windows on images as they are, train with SIDE near their own height and width.

# %%
large, _ = draw_picture(np.random.default_rng(5), (2 * SIDE, 3 * SIDE))
if ROOT:
    shrink, rng = data.Resize(options.size), np.random.default_rng(0)
    tiles = [shrink(test_source[index % len(test_source)], rng)["image"] for index in range(6)]
    large = np.vstack([np.hstack(tiles[:3]), np.hstack(tiles[3:])])
native = run_preparation(options.normalize(), None)  # at its own size
windows = Segmenter(predict, native, InferenceOptions(window=(SIDE, SIDE), batch_size=4))
in_windows, whole = windows.labels([large])[0], np.asarray(predict(native(large)[None]).argmax(-1))[0]
assert in_windows.shape == large.shape[:2]
print(f"the same class in windows and whole at {(in_windows == whole).mean():.1%} of the pixels")
shown = pictures.overlay(large, in_windows, palette=palette, ignore_index=0)
sheet = pictures.contact_sheet(
    [(large, in_windows, shown)],
    class_names=names,
    palette=palette,
    titles=("image", "in windows", "overlay"),
    cell=300,
)
display(PillowImage.fromarray(sheet))

# %% [markdown]
# ## 7. Keep it, load it, segment files
#
# The weights travel with the class names and with how images are prepared.

# %%
texts = {"preprocessing": weights.preprocessing_to_dict(options.preprocessing()), "class_names": list(names)}
metadata = {key: json.dumps(value) for key, value in texts.items()}
weights.write_safetensors(work / "unet.safetensors", learned[best], metadata=metadata)
again = zoo.load("unet_bn", weights=work / "unet.safetensors", num_classes=len(names), features=FEATURES)
assert jax.tree.all(jax.tree.map(np.array_equal, dict(again.variables), dict(learned[best])))
assert again.preprocessing == options.preprocessing() and not again.initialised

pictures.write_png(work / "large.png", large)
done = segment_files(
    windows, [work / "large.png"], work / "masks", class_names=names, palette=palette, alpha=0.5, batch_size=1,
    probabilities=False,
)  # fmt: skip
print(done, "image:", sorted(path.name for path in (work / "masks").iterdir()))
assert np.array_equal(data.read_mask(work / "masks" / "large_mask.png", num_classes=len(names)), in_windows)

# %% [markdown]
# ## 8. The same from the command line
#
# The script does what this notebook does, with checkpoints that a run can be resumed from, early stopping, curves, tables
# and many devices. Published weights start the backbone of other networks: `--model.name unet_resnet34 --model.weights
# hf://timm/resnet34.a1_in1k` (a download). `predict` resizes images to the size trained at; with `--window` they keep
# their own, which is right where that is the training's scale, as of the drawn ones.

# %%
chosen = CHOICES[best]
factors = [
    f"--loss.{name.replace('_', '-')}={getattr(chosen, name):g}"
    for name in ("cross_entropy", "dice", "focal")
]
rule = ["--loss.class-weights=median"] if chosen.class_weights else []
size = ["--data.size", str(SIDE), str(SIDE), "--data.batch-size", "8"]
window = [] if ROOT else ["--window", str(SIDE), str(SIDE)]
net = ["--model.name", "unet_bn", "--model.features", *map(str, FEATURES), "--run.steps", str(STEPS)]
print(
    shlex.join(
        [
            "python",
            "train/segmentation.py",
            "--data.source",
            kind,
            "--data.root",
            str(root),
            *size,
            *net,
            *factors,
            *rule,
        ]
    )
)
run = f"runs/{kind}-unet_bn-1/weights.safetensors"
print(shlex.join(["python", "train/segmentation.py", "predict", "--weights", run, "photos/", *window]))
