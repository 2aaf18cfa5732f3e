# %% [markdown]
# # Classify and fine-tune (图像分类与微调)
#
# Nobody trains a convolutional network from scratch if published weights (预训练权重) are at hand. Here: a network by name,
# the preprocessing (预处理) that travels with its weights, another number of classes, a frozen backbone (冻结主干) and
# rates by layer against training from scratch on the same few images, augmentation (数据增强), and what to look at
# afterwards: confusion, the worst mistakes, calibration (校准), where the network looks. Then your own images, and files.
#
# Two minutes on a CPU. One device is enough (CPU, GPU or TPU), several share each batch. Nothing is downloaded: the
# weights to start from are made here, on other digits, unless you name published ones.

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
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from PIL import Image as PillowImage
from sklearn.datasets import load_sample_image

from jaxvision import data, export, inspect, metrics, ops, pictures, tasks, training, weights, zoo
from jaxvision.optimizers import OptimizerOptions
from jaxvision.tasks.classification_options import PreparedImages
from jaxvision.tasks.networks import layer_order

SMALL = bool(os.environ.get("SMALL"))  # set by the tests: the same with fewer steps
FIRST_STEPS, STEPS, LOOKS = (
    (60, 12, 3) if SMALL else (500, 120, 12)
)  # on the digits 0 to 5; on 6 to 9; scores on the way
PER_CLASS = 5  # pictures of each of the digits 6 to 9

NAME = "resnet18"  # @param {type:"string"}
WEIGHTS = ""  # @param {type:"string"}
# Published weights of NAME: a file (.pth, .safetensors), or an address such as "hf://timm/resnet18.a1_in1k", a download.
UPLOAD = False  # @param {type:"boolean"}
# On Colab: asks for your own images.

work = Path(tempfile.mkdtemp())
print(jax.devices())

# %% [markdown]
# ## 1. A network by name, and how it wants its images
#
# `zoo.create` gives the network, `zoo.load` also its variables: from PyTorch's files, whose names and layouts are converted
# one to one (each array of the file has one place in the network, each place one array, all shapes equal; else it says
# what does not fit), without PyTorch, and without running code from the file. With them comes how images must be prepared:
# the same weights behind another mean or another resizing are worth less, and no error says so.

# %%
print(len(zoo.names()), "networks, such as", ", ".join(zoo.names()[::24]))
expected = zoo.find_entry(NAME).preprocessing
if WEIGHTS:
    published = zoo.load(NAME, weights=WEIGHTS)
    expected = published.preprocessing
print(f"{NAME}: {expected}")

photos = [
    load_sample_image(f"{name}.jpg") for name in ("china", "flower")
]  # uint8 [427, 640, 3], in scikit-learn
if UPLOAD and "google.colab" in sys.modules:
    from google.colab import files

    photos = [data.read_image(name) for name in files.upload()]
prepare, nothing_random = data.eval_transform(expected), np.random.default_rng(0)
seen = [prepare({"image": photo}, nothing_random)["image"] for photo in photos]  # float32 [224, 224, 3]

figure, panels = plt.subplots(
    len(photos), 2, figsize=(7, 2.7 * len(photos)), squeeze=False, layout="constrained"
)
for (left, right), photo, image in zip(panels, photos, seen, strict=True):
    left.imshow(photo)
    left.set_title(f"photograph {photo.shape[0]}x{photo.shape[1]}", fontsize=9)
    right.imshow(np.clip(image * np.float32(expected.std) + np.float32(expected.mean), 0, 1))
    right.set_title(f"what {NAME} sees, {image.min():.1f} to {image.max():.1f}", fontsize=9)
for axes in panels.flat:
    axes.axis("off")
plt.show()

if WEIGHTS:
    logits = jax.jit(partial(published.model.apply, train=False))(published.variables, np.stack(seen))
    probabilities = np.asarray(jax.nn.softmax(logits))
    display(
        PillowImage.fromarray(
            pictures.predictions_sheet(photos, probabilities, class_names=data.imagenet_classes())
        )
    )
else:
    print("no WEIGHTS are named: the notebook makes its own, on digits")

# %% [markdown]
# ## 2. Weights to start from
#
# A small residual network (残差网络), a ResNet-8 for CIFAR, learns the digits 0 to 5 of scikit-learn's 1,797 handwritten
# ones. A task (任务) is the network with its loss and its metrics as pure functions; its step is compiled once, and each
# batch is shared by the devices that there are.

# %%
NETWORK = {"name": "cifar_resnet20", "backbone": {"blocks": (1, 1, 1)}}
images = PreparedImages(
    tasks.ClassificationData(batch_size=16), zoo.find_entry(NETWORK["name"]).preprocessing
)
placement = training.make_placement("jit")


def some_digits(split, digits, *, limit=None):
    """The pictures of some digits, of each at most `limit`; classes are numbered from 0."""
    source = data.digit_images(split)
    chosen = np.concatenate([np.flatnonzero(source.labels == digit)[:limit] for digit in digits])
    pixels = np.stack([source[index]["image"] for index in chosen])
    return data.ArrayImages(pixels, source.labels[chosen] - digits[0], class_names=[*map(str, digits)])


def compile_predict(model):
    """A function of variables and a source that gives the logits [N, K] of its pictures, in order."""
    run = placement.compile_count(
        lambda variables, batch: model.apply(variables, batch["images"], train=False)
    )

    def predict(variables, source):
        batches = [
            (placement.shard({"images": b["images"]}), b["where"]) for b in images.ordered_batches(source)
        ]
        return np.concatenate([placement.fetch(run(variables, batch))[where] for batch, where in batches])

    return predict


def accuracy(logits, source):
    return float((logits.argmax(axis=1) == source.labels).mean())


def train(model, source, options, *, steps, variables=None, look=lambda step, variables: None):
    """Variables after some steps; `look` is called before the first and after each STEPS / LOOKS of them."""
    size, classes = images.preprocessing.size, len(source.class_names)
    loss = tasks.ClassificationLoss()
    task = tasks.classification_task(model, loss, num_classes=classes, image_size=size, frozen=options.freeze)
    shapes = jax.eval_shape(task.init, jax.random.key(0))["params"]
    optimizer, _ = options.build(shapes, steps=steps, layers=layer_order(model, size))
    state = placement.place(training.create_train_state(task, optimizer, seed=0, variables=variables))
    step = placement.compile_step(training.make_train_step(task, optimizer))
    look(0, state.variables())
    with contextlib.closing(images.batches(source, seed=0)) as batches:
        placed = data.prefetch_to_device(batches, placement.shard)
        for number, batch in zip(range(1, steps + 1), placed, strict=False):
            state, found = step(state, batch)
            if number % (STEPS // LOOKS) == 0:
                look(number, state.variables())
    assert np.isfinite(jax.device_get(found["loss"])).all()
    return placement.snapshot(state.variables())


first, first_test = (some_digits(split, range(6)) for split in ("train", "test"))
model = zoo.create(**NETWORK, num_classes=6)
variables = train(model, first, OptimizerOptions(learning_rate=3e-3), steps=FIRST_STEPS)
logits = compile_predict(model)(placement.place(variables), first_test)
print(f"{len(first)} pictures of 0 to 5: test accuracy {accuracy(logits, first_test):.3f}")


def write_weights(path, variables, class_names, preprocessing):
    """Weights, with what using them needs, as JSON."""
    texts = {"preprocessing": weights.preprocessing_to_dict(preprocessing), "class_names": list(class_names)}
    weights.write_safetensors(
        path, variables, metadata={name: json.dumps(text) for name, text in texts.items()}
    )


write_weights(work / "first.safetensors", variables, first.class_names, images.preprocessing)

# %% [markdown]
# The file can also be given the names and layouts that PyTorch has, for others to load, and be read back from those.

# %%
theirs = zoo.export_state_dict(NETWORK["name"], variables)
weights.write_safetensors(work / "torch.safetensors", theirs)
print("in PyTorch's layout:", {name: value.shape for name, value in list(theirs.items())[:3]}, "...")
back = zoo.load(**NETWORK, weights=work / "torch.safetensors")
assert jax.tree.all(jax.tree.map(np.array_equal, dict(back.variables), dict(variables)))

# %% [markdown]
# ## 3. Other classes: what is kept, what is new
#
# The new task has the digits 6 to 9, and five pictures of each. `num_classes=4` keeps the backbone and starts the head
# (分类头) anew; `initialised` names the arrays that did not come from the file. The preprocessing came with it.

# %%
few = some_digits("train", range(6, 10), limit=PER_CLASS)
test = some_digits("test", range(6, 10))
started = zoo.load(**NETWORK, weights=work / "first.safetensors", num_classes=4)
print("new arrays:", started.initialised)
assert all(path.startswith("params/head") for path in started.initialised)
kept = jax.tree.map(np.array_equal, started.variables["params"]["backbone"], variables["params"]["backbone"])
assert jax.tree.all(kept) and started.preprocessing == images.preprocessing

figure, panels = plt.subplots(4, PER_CLASS, figsize=(0.9 * PER_CLASS, 3.9), layout="constrained")
for axes, index in zip(panels.flat, range(len(few)), strict=True):
    axes.imshow(few[index]["image"])
    axes.axis("off")
figure.suptitle(f"all {len(few)} pictures to learn from", fontsize=10)
plt.show()

# %% [markdown]
# ## 4. From scratch, frozen, or with lower rates
#
# The same pictures, steps and optimizer (优化器):
#
# * **scratch**: random parameters;
# * **frozen**: only the head learns; the backbone's parameters and its BatchNorm (批归一化) statistics stay as they are;
# * **all**: everything learns at one rate (学习率);
# * **by layer**: everything learns, each layer at 0.6 times the rate of the one above it (Howard and Ruder 2018, section
#   3.2): the first layers see edges, which are the same for all digits.

# %%
WAYS = {
    "scratch": (None, OptimizerOptions(learning_rate=3e-3)),
    "frozen": (started.variables, OptimizerOptions(learning_rate=3e-2, freeze=("backbone",))),
    "all": (started.variables, OptimizerOptions(learning_rate=3e-3)),
    "by layer": (started.variables, OptimizerOptions(learning_rate=1e-2, layer_decay=0.6)),
}
predict = compile_predict(started.model)
tuned, curves = {}, {name: [] for name in WAYS}
for name, (begin, options) in WAYS.items():

    def look(step, variables, curve=curves[name]):
        curve.append((step, accuracy(predict(variables, test), test)))

    tuned[name] = train(started.model, few, options, steps=STEPS, variables=begin, look=look)
    print(f"{name:<9} test accuracy after {STEPS} steps: {curves[name][-1][1]:.3f}")

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
for (name, curve), style in zip(curves.items(), ("o:", "s--", "^-", "D-."), strict=True):
    axes.plot(*zip(*curve, strict=True), style, label=name)
axes.set(
    xlabel="step", ylabel="accuracy", ylim=(0, 1), title=f"{len(test)} test pictures of the digits 6 to 9"
)
axes.grid(alpha=0.3)
axes.legend()
plt.show()

backbone = (tuned["frozen"]["params"]["backbone"], started.variables["params"]["backbone"])
assert jax.tree.all(jax.tree.map(np.array_equal, *backbone))  # bit by bit
assert max(curve[-1][1] for name, curve in curves.items() if name != "scratch") > curves["scratch"][-1][1]

# %% [markdown]
# A frozen backbone can only weigh anew what it sees already: it starts fast, and ends where that is used up. Six digits teach
# far less than the thousand classes of published weights do. If there are more images than a few, let all layers learn.
#
# ## 5. Augmentation, as the network sees it
#
# Random crops (随机裁剪) and changes of colour are drawn on the host, for each picture anew. Mixup (混合; Zhang et al. 2018)
# and CutMix (Yun et al. 2019) are pure functions on a batch: they mix two images and, by the same share, their labels.

# %%
rng, pair = (
    np.random.default_rng(1),
    np.stack([load_sample_image(f"{n}.jpg")[:420, :420] for n in ("china", "flower")]),
)
crops = [data.RandomResizedCrop((96, 96))({"image": pair[i % 2]}, rng)["image"] for i in range(4)]
varied = [data.RandAugment(num_ops=2, magnitude=12)({"image": crop}, rng)["image"] for crop in crops]
shown = {"random resized crop": crops, "RandAugment": varied}
shrunk = ops.resize(jnp.asarray(pair, jnp.float32) / 255, (96, 96), antialias=True)  # [2, 96, 96, 3]
shares = {}
for name, mix in {"mixup": ops.mixup, "CutMix": ops.cutmix}.items():
    draw = jax.jit(jax.vmap(partial(mix, alpha=1.0), in_axes=(0, None, None)))
    mixed, labels = draw(
        jax.random.split(jax.random.key(2), 4), shrunk, jnp.eye(2)
    )  # [4, 2, 96, 96, 3], [4, 2, 2]
    assert jnp.allclose(labels.sum(-1), 1, atol=1e-6)
    shown[name], shares[name] = np.clip(mixed[:, 0], 0, 1), np.asarray(labels[:, 0])

figure, panels = plt.subplots(4, 4, figsize=(7.5, 8), layout="constrained")
for row, (name, drawn) in zip(panels, shown.items(), strict=True):
    for column, (axes, image) in enumerate(zip(row, drawn, strict=True)):
        axes.imshow(image)
        axes.axis("off")
        share = shares[name][column] if name in shares else None
        axes.set_title(name if share is None else f"{name}: {share[0]:.2f}, {share[1]:.2f}", fontsize=8)
plt.show()

# %% [markdown]
# ## 6. What it gets wrong
#
# Accuracy (准确率) is one number. The confusion matrix (混淆矩阵) says which class is taken for which, and the pictures that
# the network is most wrong about often say why.

# %%
best = max(curves, key=lambda name: curves[name][-1][1])
logits = predict(placement.place(tuned[best]), test)
probabilities = np.asarray(jax.nn.softmax(logits))
counts = np.asarray(metrics.confusion_matrix(jnp.asarray(test.labels), jnp.asarray(logits.argmax(1)), 4))
assert counts.sum() == len(test) and np.isclose(counts.trace() / counts.sum(), accuracy(logits, test))
print(f"the best of these: {best}")
path = pictures.confusion_picture(counts, work / "confusion.png", class_names=test.class_names)
display(Image(path.read_bytes(), width=380))

wrong = pictures.worst_mistakes(probabilities, test.labels, limit=6)
mistakes = [test[int(index)]["image"] for index in wrong]
sheet = pictures.mistakes_sheet(
    mistakes, test.labels[wrong], probabilities[wrong], class_names=test.class_names
)
display(PillowImage.fromarray(sheet))

# %% [markdown]
# ## 7. Is it as sure as it should be?
#
# Of the pictures that the network is 80 % sure of, 80 % should be right. The expected calibration error (期望校准误差) is
# the mean distance. One number, the temperature (温度), by which the logits are divided, often mends most of it and changes
# no prediction (Guo et al. 2017, section 4.2). It is fitted on pictures that were not trained on, and judged on others.
# Left: as it is; right: with the temperature.

# %%
held = some_digits("val", range(6, 10))
temperature = metrics.fit_temperature(predict(placement.place(tuned[best]), held), held.labels)
sheets = []
for name, scale in {"as it is": 1.0, f"temperature {temperature:.2f}": temperature}.items():
    counted = metrics.calibration_counts(
        jnp.asarray(logits / np.float32(scale)), jnp.asarray(test.labels), bins=10
    )
    error, table = (
        float(metrics.expected_calibration_error(counted)),
        map(np.asarray, metrics.reliability(counted)),
    )
    print(f"{name}: expected calibration error {error:.3f}")
    sheets.append(plt.imread(pictures.reliability_picture(*table, work / "reliability.png", error=error)))
assert np.array_equal((logits / np.float32(temperature)).argmax(1), logits.argmax(1))
display(PillowImage.fromarray((255 * np.hstack(sheets)[..., :3]).astype(np.uint8)).reduce(2))

# %% [markdown]
# ## 8. Where it looks
#
# Grad-CAM (梯度加权类激活图; Selvaraju et al. 2017): the last feature map, its channels weighted by how much each speaks for
# the class, laid over the picture. Upper row: the true class. Lower row: what speaks for the next class instead; without colours, nothing does.

# %%
four = [int(np.flatnonzero(test.labels == label)[0]) for label in range(4)]
transform = images.eval_transform()
inputs = jnp.stack([transform({"image": test[index]["image"]}, nothing_random)["image"] for index in four])
layer = "backbone/c3"
assert layer in inspect.list_layers(started.model, tuned[best], inputs, train=False)
explain = jax.jit(
    lambda classes: inspect.grad_cam(
        started.model, tuned[best], inputs, layer=layer, classes=classes, train=False
    )
)
figure, panels = plt.subplots(2, 4, figsize=(7.5, 4.2), layout="constrained")
for row, shift in zip(panels, (0, 1), strict=True):
    heat = np.asarray(explain((jnp.arange(4) + shift) % 4)[0])
    for axes, index, values, label in zip(row, four, heat, range(4), strict=True):
        large = np.asarray(
            PillowImage.fromarray(test[index]["image"]).resize((128, 128), PillowImage.Resampling.NEAREST)
        )
        axes.imshow(pictures.heatmap_overlay(large, values))
        axes.set_title(f"{test.class_names[label]}: for {test.class_names[(label + shift) % 4]}", fontsize=9)
        axes.axis("off")
plt.show()

# %% [markdown]
# ## 9. Your own images
#
# A classifier always answers, also where no answer is right. The photographs (or your images, if you uploaded some) are no
# digits, and this network cannot say so: softmax shares 100 % among the classes it has. Never read a probability as "is it
# one of these at all?".

# %%
apply = jax.jit(partial(started.model.apply, train=False))
own = np.stack([transform({"image": photo}, nothing_random)["image"] for photo in photos])
answers = np.asarray(jax.nn.softmax(apply(tuned[best], own)))
display(
    PillowImage.fromarray(
        pictures.predictions_sheet(photos, answers, class_names=test.class_names, columns=2)
    )
)
assert np.allclose(answers.sum(1), 1, atol=1e-5)

# %% [markdown]
# ## 10. Keep it, and run it without this library
#
# Weights are kept as safetensors and come back bit by bit. `export_stablehlo` writes network and weights as one program
# for CPU, GPU and TPU with an open batch size (批大小), which needs none of this code to run.

# %%
write_weights(work / "tuned.safetensors", tuned[best], test.class_names, images.preprocessing)
again = zoo.load(**NETWORK, weights=work / "tuned.safetensors", num_classes=4)
assert jax.tree.all(jax.tree.map(np.array_equal, dict(again.variables), dict(tuned[best])))
assert not again.initialised and again.preprocessing == images.preprocessing
assert json.loads(weights.read_metadata(work / "tuned.safetensors")["class_names"]) == list(test.class_names)

path = work / "digits.stablehlo.zip"
export.export_stablehlo(path, again.model, again.variables, input_shape=inputs.shape[1:])
program = export.load_stablehlo(path)
assert np.allclose(program.call(inputs), apply(tuned[best], inputs), atol=1e-3)
print(path.stat().st_size // 1024, "KiB for", program.platforms)

# %% [markdown]
# ## 11. The same from the command line
#
# A folder with one folder a class is all that the script needs. It does what this notebook does, with checkpoints, early
# stopping, averaged weights, folds and more:
#
# ```sh
# python train/classification.py --data.source folder --data.root flowers \
#     --model.name resnet50 --model.weights hf://timm/resnet50.a1_in1k --optimizer.freeze backbone
# python train/classification.py predict --weights runs/folder-resnet50-1/weights.safetensors photos/
# ```
