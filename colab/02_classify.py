# %% [markdown]
# # Classify and fine-tune (图像分类与微调)
#
# Nobody trains a convolutional network from scratch if published weights (预训练权重) are at hand. Here: a network by
# name with its weights, the preprocessing (预处理) that travels with them, another number of classes, a frozen backbone
# (冻结主干) against training from scratch on the same few images, augmentation (数据增强) as the network sees it, and what
# to look at afterwards: confusion, the worst mistakes, calibration (校准), and where the network looks.
#
# Two minutes on a CPU. One device is enough, several share each batch. Nothing is downloaded: the weights to start from
# are made here, on other digits, unless you name published ones.

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
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from sklearn.datasets import load_sample_image

from jaxvision import data, export, inspect, metrics, ops, pictures, training, weights, zoo
from jaxvision.optimizers import OptimizerOptions
from jaxvision.tasks import ClassificationData, ClassificationLoss, classification_task
from jaxvision.tasks.classification_options import PreparedImages

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same, with fewer steps
FIRST_STEPS = 60 if SMALL else 500  # on the digits 0 to 5
STEPS = 12 if SMALL else 120  # of each way to learn the digits 6 to 9
PER_CLASS = 5  # pictures of each of these

WEIGHTS = ""  # @param {type:"string"}
# A file of published weights of NAME, or an address such as "hf://timm/resnet18.a1_in1k", which is downloaded.
NAME = "resnet18"  # @param {type:"string"}

print(jax.devices())
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. A network by name
#
# `zoo.create` gives the network alone, `zoo.load` also its variables, converted from PyTorch's names and layouts, and
# how the images must be prepared. It insists on a bijection (双射): each array of the file has one place in the network,
# each place one array, all shapes equal; else it says what is missing. No PyTorch is needed to read a `.pth` file,
# and no code in it is run.

# %%
print(len(zoo.names()), "networks, such as", ", ".join(zoo.names()[::24]))

photos = {name: load_sample_image(f"{name}.jpg") for name in ("china", "flower")}  # uint8 [427, 640, 3]
if WEIGHTS:
    published = zoo.load(NAME, weights=WEIGHTS)
    prepare = data.eval_transform(published.preprocessing)
    for name, photo in photos.items():
        record = prepare({"image": photo}, np.random.default_rng(0))
        logits = jax.jit(lambda x: published.model.apply(published.variables, x, train=False))(
            record["image"][None]
        )
        best = np.argsort(-np.asarray(jax.nn.softmax(logits))[0])[:5]
        print(name, [data.imagenet_classes()[index] for index in best])
else:
    print("no WEIGHTS named: what follows makes its own; the entry of the zoo says how images are prepared:")
    print(zoo.find_entry(NAME).preprocessing)

# %% [markdown]
# ## 2. Weights to start from
#
# A small residual network (残差网络), ResNet-8 for CIFAR, learns the digits 0 to 5 of scikit-learn's 1,797 handwritten
# ones. A task (任务) is the network with its loss and metric as pure functions; the step is compiled once and shares
# each batch between the devices that there are.

# %%
NETWORK = {"name": "cifar_resnet20", "backbone": {"blocks": (1, 1, 1)}}
options = ClassificationData(batch_size=16)
images = PreparedImages(options, zoo.find_entry(NETWORK["name"]).preprocessing)


def some_digits(split, digits, *, limit=None):
    """The pictures of some digits, of each at most `limit`; classes are numbered from 0."""
    source = data.digit_images(split)
    chosen = np.concatenate([np.flatnonzero(source.labels == digit)[:limit] for digit in digits])
    pixels = np.stack([source[index]["image"] for index in chosen])
    return data.ArrayImages(
        pixels, source.labels[chosen] - digits[0], class_names=[str(digit) for digit in digits]
    )


def train(model, source, optimizer, *, steps, variables=None):
    """Variables after some steps, and the loss of each."""
    task = classification_task(
        model,
        ClassificationLoss(),
        num_classes=len(source.class_names),
        image_size=images.preprocessing.size,
        frozen=optimizer.freeze,
    )
    shapes = jax.eval_shape(task.init, jax.random.key(0))["params"]
    transform, _ = optimizer.build(shapes, steps=steps)
    placement = training.make_placement("jit")
    state = placement.place(training.create_train_state(task, transform, seed=0, variables=variables))
    step, losses = training.compile_step(task, transform, placement), []
    with contextlib.closing(images.batches(source, seed=0)) as batches:
        for _, batch in zip(range(steps), data.prefetch_to_device(batches, placement.shard), strict=False):
            state, found = step(state, batch)
            losses.append(found["loss"])
    assert all(np.isfinite(losses))
    return jax.device_get(state.variables()), np.asarray(losses)


def predict(model, variables, source):
    """Logits [N, K] of all pictures of a source, in order."""
    run = jax.jit(lambda x: model.apply(variables, x, train=False))
    return np.concatenate(
        [np.asarray(run(batch["images"]))[batch["where"]] for batch in images.ordered_batches(source)]
    )


def accuracy(logits, source):
    return float((logits.argmax(axis=1) == source.labels).mean())


first, first_test = (some_digits(split, range(6)) for split in ("train", "test"))
model = zoo.create(**NETWORK, num_classes=6)
variables, losses = train(model, first, OptimizerOptions(learning_rate=3e-3), steps=FIRST_STEPS)
print(
    f"{len(first)} pictures of 0 to 5: test accuracy {accuracy(predict(model, variables, first_test), first_test):.3f}"
)
weights.write_safetensors(folder / "first.safetensors", variables)

# %% [markdown]
# ## 3. Other classes: what is kept and what is new
#
# The new task has the digits 6 to 9, and only five pictures of each. `num_classes=4` keeps the backbone and starts the
# head (分类头) anew; `initialised` says which arrays did not come from the file.

# %%
few = some_digits("train", range(6, 10), limit=PER_CLASS)
test = some_digits("test", range(6, 10))
started = zoo.load(**NETWORK, weights=folder / "first.safetensors", num_classes=4)
print("new arrays:", started.initialised)
kept, source = (tree["params"]["backbone"]["stem_conv"]["kernel"] for tree in (started.variables, variables))
assert np.array_equal(kept, source)

figure, axes = plt.subplots(4, PER_CLASS, figsize=(1.1 * PER_CLASS, 4.6))
for axis, index in zip(axes.flat, range(len(few)), strict=True):
    axis.imshow(few[index]["image"])
    axis.axis("off")
figure.suptitle(f"all {len(few)} pictures to learn from")
plt.show()

# %% [markdown]
# ## 4. From scratch, frozen, or with lower rates
#
# The same pictures, steps and optimizer (优化器), four times:
#
# * **scratch**: random parameters;
# * **frozen**: only the head learns; the backbone's parameters and its BatchNorm (批归一化) statistics stay;
# * **all**: everything learns at the same rate (学习率);
# * **by layer**: everything learns, the backbone ten times slower than the head.

# %%
ways = {
    "scratch": (None, OptimizerOptions(learning_rate=3e-3)),
    "frozen": (started.variables, OptimizerOptions(learning_rate=3e-2, freeze=("backbone",))),
    "all": (started.variables, OptimizerOptions(learning_rate=3e-3)),
    "by layer": (started.variables, OptimizerOptions(learning_rate=1e-2, rates=(("backbone", 0.1),))),
}
tuned, curves, scores = {}, {}, {}
for name, (begin, optimizer) in ways.items():
    tuned[name], curves[name] = train(started.model, few, optimizer, steps=STEPS, variables=begin)
    scores[name] = accuracy(predict(started.model, tuned[name], test), test)
    print(f"{name:9s} test accuracy {scores[name]:.3f} on {len(test)} pictures")

same = jax.tree.map(
    np.array_equal, tuned["frozen"]["params"]["backbone"], started.variables["params"]["backbone"]
)
assert jax.tree.all(same) and max(scores.values()) > 0.25, "frozen is frozen, and something was learned"

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for name, curve in curves.items():
    left.plot(np.convolve(curve, np.ones(5) / 5, "valid"), label=name)
left.set(xlabel="step", ylabel="training loss (mean of 5)", yscale="log")
left.legend()
right.bar(list(scores), list(scores.values()), color=[f"C{i}" for i in range(4)])
right.set(ylabel="test accuracy", ylim=(0, 1))
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 5. Augmentation, as the network sees it
#
# Crops and flips are drawn on the host for each picture anew; mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) are
# pure functions on a batch: they mix two images and, by the same share, their labels.

# %%
rng, batch = np.random.default_rng(1), np.stack([photo[:420, :420] for photo in photos.values()])
crops = [data.RandomResizedCrop((96, 96))({"image": batch[i % 2]}, rng)["image"] for i in range(3)]
varied = [
    data.RandAugment(num_ops=2, magnitude=12)({"image": ops_image}, rng)["image"] for ops_image in crops
]
shrunk = ops.resize(jnp.asarray(batch, jnp.float32) / 255, (96, 96), antialias=True)  # [2, 96, 96, 3]
targets = jnp.eye(2)
mixes = {
    name: jax.jit(lambda key, x, y, mix=mix: mix(key, x, y, alpha=1.0))
    for name, mix in (("mixup", ops.mixup), ("cutmix", ops.cutmix))
}
shown = [("random crop", crop) for crop in crops] + [("RandAugment", image) for image in varied]
for name, mix in mixes.items():
    for seed in range(3):
        mixed, labels = mix(jax.random.key(seed), shrunk, targets)
        assert np.allclose(labels.sum(axis=1), 1, atol=1e-6)
        shown.append(
            (f"{name} {float(labels[0, 0]):.2f} / {float(labels[0, 1]):.2f}", np.clip(mixed[0], 0, 1))
        )

figure, axes = plt.subplots(4, 3, figsize=(6.6, 9))
for axis, (title, image) in zip(axes.flat, shown, strict=True):
    axis.imshow(image)
    axis.set_title(title, fontsize=9)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 6. What it gets wrong
#
# Accuracy (准确率) is one number; the confusion matrix (混淆矩阵) says which class is taken for which, and the pictures that
# the network is most wrong about say why. Metrics are counts that add up over batches and devices, then a score.

# %%
best = max(scores, key=scores.get)
logits = predict(started.model, tuned[best], test)
counts = np.asarray(
    metrics.confusion_matrix(jnp.asarray(logits.argmax(1)), jnp.asarray(test.labels), num_classes=4)
)
assert counts.sum() == len(test) and counts.trace() / counts.sum() == accuracy(logits, test)
display(Image(pictures.confusion_picture(counts, folder / "confusion.png", class_names=test.class_names)))

probabilities = np.asarray(jax.nn.softmax(logits))
worst = pictures.worst_mistakes(probabilities, test.labels, limit=12)
if len(worst):
    sheet = pictures.mistakes_sheet(
        [test[index]["image"] for index in worst],
        test.labels[worst],
        probabilities[worst],
        class_names=test.class_names,
    )
    plt.figure(figsize=(9, 9 * sheet.shape[0] / sheet.shape[1]))
    plt.imshow(sheet)
    plt.axis("off")
    plt.show()

# %% [markdown]
# ## 7. Is it as sure as it should be?
#
# Of the pictures that the network is 80 % sure of, 80 % should be right. The expected calibration error (期望校准误差)
# sums the differences; one number, the temperature (温度), fitted on pictures that were not trained on, mends most of
# it and changes no prediction (Guo et al. 2017, section 4.2).

# %%
held = some_digits("val", range(6, 10))
temperature = metrics.fit_temperature(predict(started.model, tuned[best], held), held.labels)
errors = {}
for name, scale in (("as it is", 1.0), (f"temperature {temperature:.2f}", temperature)):
    counted = metrics.calibration_counts(jnp.asarray(logits) / scale, jnp.asarray(test.labels), bins=10)
    errors[name] = float(metrics.expected_calibration_error(counted))
    print(f"{name}: expected calibration error {errors[name]:.3f}")
table = metrics.reliability(counted)
display(
    Image(
        pictures.reliability_picture(
            np.asarray(table.confidence),
            np.asarray(table.accuracy),
            np.asarray(table.total),
            folder / "reliability.png",
            error=errors[name],
        )
    )
)

# %% [markdown]
# ## 8. Where it looks
#
# Grad-CAM (梯度加权类激活图, Selvaraju et al. 2017): the last feature map, its channels weighted by how much each speaks for
# the class. On a digit's strokes the network looks at what tells the digit from the others.

# %%
four = [int(np.flatnonzero(test.labels == label)[0]) for label in range(4)]
prepare = images.eval_transform()
inputs = jnp.stack(
    [prepare(test[index], np.random.default_rng(0))["image"] for index in four]
)  # [4, 16, 16, 3]
names = [
    name
    for name in inspect.list_layers(started.model, tuned[best], inputs, train=False)
    if "backbone/c" in name
]
print("feature maps:", names)
maps, _ = inspect.grad_cam(
    started.model, tuned[best], inputs, layer=names[-1], classes=jnp.arange(4), train=False
)
figure, axes = plt.subplots(2, 4, figsize=(7, 3.8))
for column, index in enumerate(four):
    axes[0, column].imshow(test[index]["image"])
    axes[0, column].set_title(test.class_names[column])
    axes[1, column].imshow(maps[column], cmap="inferno")
for axis in axes.flat:
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## 9. Keep it, and run it without this library
#
# Weights are kept as safetensors and read again bit by bit. `export_stablehlo` writes network and weights as one program for
# CPU, GPU and TPU with an open batch size (批大小), which needs none of this code to run.

# %%
weights.write_safetensors(
    folder / "tuned.safetensors", tuned[best], metadata={"classes": ",".join(test.class_names)}
)
again = zoo.load(**NETWORK, weights=folder / "tuned.safetensors", num_classes=4)
assert jax.tree.all(jax.tree.map(np.array_equal, dict(again.variables), dict(tuned[best])))

export.export_stablehlo(
    folder / "digits.stablehlo.zip", again.model, again.variables, input_shape=inputs.shape[1:]
)
program = export.load_stablehlo(folder / "digits.stablehlo.zip")
assert np.allclose(program.call(inputs), predict(again.model, again.variables, test)[four], atol=1e-4)
print((folder / "digits.stablehlo.zip").stat().st_size // 1024, "KiB for", program.platforms)

# %% [markdown]
# ## 10. Your own pictures
#
# A folder with one folder a class is all that the script needs; it does what this notebook does, with checkpoints, early
# stopping, averaged weights, folds and more:
#
# ```sh
# python train/classification.py --data.source folder --data.root flowers \
#     --model.name resnet50 --model.weights hf://timm/resnet50.a1_in1k --optimizer.freeze backbone
# python train/classification.py predict --weights runs/folder-resnet50-1/weights.safetensors photos/
# ```
#
# On Colab, upload a zip by the folder symbol at the left, and `!unzip` it.
