# %% [markdown]
# # jaxvision in Flax NNX (在NNX中使用jaxvision)
#
# The networks of jaxvision are Linen modules: a pure function `apply(variables, images)`. If your program is
# written in NNX, where a module holds its variables, [`flax.nnx.bridge`](https://flax.readthedocs.io) wraps any of
# them. Here you
#
# * wrap a network, and see where its parameters (参数) and batch statistics (批统计量) went;
# * train it by `nnx.value_and_grad` and `nnx.Optimizer`, with dropout keys (随机密钥) and BatchNorm (批归一化);
# * check that the step is the same as the one of Linen and Optax, number by number;
# * move published weights in, and trained ones out.
#
# About a minute on a CPU; any number of CPU, GPU or TPU devices.

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
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

from jaxvision import data, losses, pictures, training, weights, zoo
from jaxvision.core import count_parameters, flatten_paths

SMALL = bool(os.environ.get("SMALL"))  # for tests: fewer steps
STEPS = 8 if SMALL else 150
BATCH = 64

jax.config.update("jax_default_matmul_precision", "highest")  # or a TPU's rounding would hide what is equal
print(jax.devices())

# %% [markdown]
# ## The network
#
# A narrow ResNet for small images (He et al. 2016, *Deep Residual Learning for Image Recognition*, section 4.2), with
# stochastic depth (随机深度; Huang et al. 2016), so that a training step draws random numbers. `ToNNX` needs an
# input to make the variables: `lazy_init`. Inside of `nnx.jit` that is one compiled program instead of many small ones.

# %%
network = zoo.create("cifar_resnet20", num_classes=10, backbone={"blocks": (1, 1, 1), "drop_path_rate": 0.1})
example = jnp.zeros((1, 16, 16, 3))


@nnx.jit
def create():
    return nnx.bridge.ToNNX(network, rngs=nnx.Rngs(params=0)).lazy_init(example, train=False)


model = create()
params, statistics = nnx.state(model, nnx.Param), nnx.state(model, nnx.BatchStat)
print(
    f"{count_parameters(nnx.to_pure_dict(params)):,} parameters; the first of {len(jax.tree.leaves(params))}:"
)
for path, leaf in list(flatten_paths(nnx.to_pure_dict(params)).items())[:4]:
    print(f"  {path} {leaf.shape}")
print("statistics:", ", ".join(list(flatten_paths(nnx.to_pure_dict(statistics)))[:2]), "...")

# %% [markdown]
# ## Calling it
#
# Arguments are those of the Linen module. `train` has no default, and three things go with `train=True`:
#
# | what | Linen | NNX |
# |---|---|---|
# | new batch statistics | `mutable=["batch_stats"]`, returned | `mutable=["batch_stats"]`, written into the module |
# | random numbers | `rngs={"dropout": key}` | `rngs=nnx.Rngs(dropout=...)`, whose count goes on by itself |
# | gradients with respect to | the first argument | `nnx.Param` |

# %%
evaluate = nnx.jit(lambda model, x: model(x, train=False))
logits = evaluate(model, example)
print(logits.shape, logits.dtype)
assert jnp.array_equal(logits, evaluate(model, example)), "evaluation draws nothing and changes nothing"

# %% [markdown]
# ## The data
#
# Handwritten digits that come with scikit-learn, 8 x 8 pixels, drawn twice as large. With more devices each gets a part of
# every batch, and model, optimizer and random streams are copied to all of them (`copy_to_devices` below).

# %%
placement = training.make_placement("jit")
size = BATCH - BATCH % placement.num_devices


def arrays(split):
    source = data.digit_images(split)
    images = np.stack([source[index]["image"] for index in range(len(source))])  # uint8 [N, 8, 8, 3]
    return images.repeat(2, axis=1).repeat(2, axis=2) / np.float32(127.5) - 1, source.labels


(train_images, train_labels), (test_images, test_labels) = arrays("train"), arrays("test")
print(train_images.shape, test_images.shape, f"{size} images a step on {placement.num_devices} device(s)")

# %% [markdown]
# ## The step
#
# Optax as it is, inside of `nnx.Optimizer`. The random streams are an argument of the function that is differentiated, so
# that NNX may move their counts.

# %%
# Optax's eps of 1e-8 makes whole steps of gradients that are rounding, which two programs round in two ways.
recipe = optax.adamw(optax.cosine_decay_schedule(3e-3, STEPS), eps=1e-6)
optimizer = nnx.Optimizer(model, recipe, wrt=nnx.Param)
rngs = nnx.Rngs(dropout=1)


def copy_to_devices(*modules):
    for module in modules:
        nnx.update(module, placement.place(nnx.state(module)))


copy_to_devices(model, optimizer, rngs)
traces = []


def mean_loss(model, images, labels, rngs):
    logits = model(images, train=True, mutable=["batch_stats"], rngs=rngs)
    return losses.cross_entropy_loss(logits, labels).mean()


@nnx.jit
def step(model, optimizer, images, labels, rngs):
    traces.append(images.shape)
    value, gradients = nnx.value_and_grad(mean_loss)(model, images, labels, rngs)
    optimizer.update(model, gradients)
    return value


def batch_at(number):
    chosen = np.random.default_rng(number).integers(0, len(train_images), size)
    return placement.shard((train_images[chosen], train_labels[chosen]))


# %% [markdown]
# ## The same step in Linen and Optax
#
# The variables of the module are a tree like Linen's, so both can start alike. After one step parameters and statistics
# must agree. Two programs round in two ways, a pixel at the kink of a ReLU may fall on either side of it, and Adam makes
# whole steps, of 3e-3, of small gradients: so a few numbers may differ, and the median of each array counts.


# %%
def take_variables(model):
    kinds = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    return {name: nnx.to_pure_dict(nnx.state(model, kind)) for name, kind in kinds.items()}


@jax.jit
def linen_step(variables, opt_state, images, labels, key):
    def loss(params):
        logits, updates = network.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return losses.cross_entropy_loss(logits, labels).mean(), updates

    (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    changes, opt_state = recipe.update(gradients, opt_state, variables["params"])
    return value, {"params": optax.apply_updates(variables["params"], changes), **updates}


before = jax.tree.map(np.array, take_variables(model))  # copies
key = nnx.Rngs(dropout=1).dropout()  # the key that the stream gives first
expected_loss, expected = linen_step(before, recipe.init(before["params"]), *batch_at(0), key)
history = [float(step(model, optimizer, *batch_at(0), rngs))]

found, expected = flatten_paths(take_variables(model)), flatten_paths(expected)
largest = max(float(np.median(abs(found[path] - expected[path]))) for path in expected)
print(f"loss {history[0]:.6f} and {float(expected_loss):.6f}; largest median difference {largest:.1e}")
assert abs(history[0] - float(expected_loss)) < 1e-5
assert largest < 1e-5
start = flatten_paths(before)
assert all(not np.array_equal(found[path], start[path]) for path in start), "every array moved"

# %% [markdown]
# ## Training

# %%
for number in range(1, STEPS):
    history.append(float(step(model, optimizer, *batch_at(number), rngs)))
assert traces == [(size, 16, 16, 3)], "one program for all steps"

probabilities = np.asarray(jax.nn.softmax(evaluate(model, test_images)))
predictions = probabilities.argmax(axis=-1)
accuracy = (predictions == test_labels).mean()
print(
    f"loss {history[0]:.2f} -> {np.mean(history[-5:]):.2f}, {100 * accuracy:.1f} % of the test digits are right"
)
if not SMALL:
    assert accuracy > 0.9

worst = pictures.worst_mistakes(probabilities, test_labels, limit=6)
sheet = pictures.mistakes_sheet(
    [np.rint(127.5 * (test_images[index] + 1)).astype(np.uint8) for index in worst],
    test_labels[worst],
    probabilities[worst],
    class_names=[str(digit) for digit in range(10)],
    columns=3,
    cell=128,
)
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
left.plot(history, color="#0072B2")
left.set(xlabel="step", ylabel="cross entropy", title="training loss, by nnx.Optimizer")
left.grid(alpha=0.3)
right.imshow(sheet)
right.set_title("the surest mistakes among the test digits")
right.set_axis_off()
plt.show()

# %% [markdown]
# ## Weights in and out
#
# What NNX holds is Linen's tree, so all of `jaxvision.zoo` works: `export_state_dict` gives the names and layouts of the
# published network, for PyTorch, and `zoo.load` reads such a file, yours or a published one. Put loaded variables into a
# module by `nnx.replace_by_pure_dict`.

# %%
state_dict = zoo.export_state_dict("cifar_resnet20", take_variables(model))
weights.write_safetensors("digits.safetensors", state_dict)
loaded = zoo.load("cifar_resnet20", weights="digits.safetensors", backbone={"blocks": (1, 1, 1)})

other = create()
for name, kind in {"params": nnx.Param, "batch_stats": nnx.BatchStat}.items():
    state = nnx.state(other, kind)
    nnx.replace_by_pure_dict(state, loaded.variables[name])
    nnx.update(other, state)
again = np.asarray(evaluate(other, test_images)).argmax(axis=-1)
assert np.array_equal(again, predictions)
print(
    f"{len(state_dict)} arrays such as {', '.join(list(state_dict)[:3])}; the same predictions after the round trip"
)
os.remove("digits.safetensors")
