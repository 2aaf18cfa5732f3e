"""Times whole networks in JAX and in PyTorch: inference and a training step, and prints the ratios.

    python tests/benchmarks/networks.py                       # where jax, torch and torchvision are installed
    python tests/benchmarks/networks.py --torch-python PATH   # torch in another environment

A training step is forward, mean cross entropy over the images or pixels, backward and an SGD update with
momentum, in train mode. PyTorch runs eagerly in channels_last; its classifiers are torchvision's, its
segmentation networks torchvision's, segmentation_models.pytorch's, or the restatements that the tests compare
with (``tests/oracles/torch_networks.py``). Each peer has a process of its own (in one process they halve each
other's speed), the peers take turns, and a figure is the median over turns of the fastest call in a turn:
other work on the machine only ever adds time.
``compile`` is the time that XLA takes for the step, ``peak`` the largest resident memory of each process,
XLA's compiler included. Both run with the allocator settings of
:func:`jaxvision.training.keep_freed_memory`; ``--cache FOLDER`` keeps XLA's programs there, so that a second
run shows what compiling costs with a warm cache.
"""

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that oracles is found

from benchmarks.ops import ALLOCATOR


class Case(NamedTuple):
    """One network at one batch of square images."""

    label: str
    network: str
    batch: int
    size: int
    classes: int
    fields: Mapping[str, Any] = MappingProxyType({})


# Of ``oracles.torch_segnets.whole_model``, a label a pixel.
DECODERS = (
    "segnet",
    "segnet_basic",
    "deconvnet",
    "unet_resnet34",
    "linknet_resnet34",
    "unetplusplus_resnet34",
)
HALF, PAPER = (32, 64, 128, 256, 512), (64, 128, 256, 512, 1024)
CASES = (
    Case("U-Net 32-512, BN, 4x128x128", "unet", 4, 128, 12, {"features": HALF, "use_norm": True}),
    Case("U-Net 64-1024, 2x128x128", "unet", 2, 128, 12, {"features": PAPER, "use_norm": False}),
    Case("FCN-8s VGG-16, 2x224x224", "fcn8s_vgg16", 2, 224, 21),
    Case("SegNet, 2x128x128", "segnet", 2, 128, 12),
    Case("SegNet-Basic, 2x128x128", "segnet_basic", 2, 128, 12),
    Case("DeconvNet, 2x224x224", "deconvnet", 2, 224, 21),
    Case("U-Net ResNet-34, 4x128x128", "unet_resnet34", 4, 128, 12),
    Case("LinkNet ResNet-34, 4x128x128", "linknet_resnet34", 4, 128, 12),
    Case("UNet++ ResNet-34, 2x128x128", "unetplusplus_resnet34", 2, 128, 12),
    Case("ResNet-50, 4x224x224", "resnet50", 4, 224, 1000),
    Case("ResNeXt-50 32x4d, 4x224x224", "resnext50_32x4d", 4, 224, 1000),
    Case("MobileNetV2, 4x224x224", "mobilenet_v2", 4, 224, 1000),
    Case("EfficientNet-B0, 4x224x224", "efficientnet_b0", 4, 224, 1000),
    Case("VGG-16, 4x224x224", "vgg16", 4, 224, 1000),
    Case("FCN ResNet-50, 2x224x224", "fcn_resnet50", 2, 224, 21),
    Case("DeepLabV3 ResNet-50, 2x224x224", "deeplabv3_resnet50", 2, 224, 21),
    Case("DeepLabV3 MobileNetV3, 4x224x224", "deeplabv3_mobilenet_v3_large", 4, 224, 21),
    Case("LR-ASPP MobileNetV3, 4x224x224", "lraspp_mobilenet_v3_large", 4, 224, 21),
    Case("DeepLabV3+ ResNet-34, 4x224x224", "deeplabv3plus_resnet34", 4, 224, 21),
    Case("PSPNet ResNet-34, 4x224x224", "pspnet_resnet34", 4, 224, 21),
    Case("FPN ResNet-34, 4x224x224", "fpn_resnet34", 4, 224, 21),
)
# segmentation_models.pytorch's name of each network that is its own.
SMP_CONTEXT = {"deeplabv3plus_resnet34": "DeepLabV3Plus", "pspnet_resnet34": "PSPNet", "fpn_resnet34": "FPN"}
TORCHVISION = (
    "fcn_resnet50",
    "deeplabv3_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
DENSE = ("unet", "fcn8s_vgg16", *SMP_CONTEXT, *TORCHVISION)  # a label a pixel
Calls = dict[str, Callable[[], Any]]


def batch_of(case: Case) -> tuple[Any, Any]:
    """Images ``[N, H, W, 3]`` and labels ``[N, H, W]`` or ``[N]``, the same for both peers."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (case.batch, case.size, case.size)
    images = rng.standard_normal((*shape, 3)).astype(np.float32)
    labels = rng.integers(0, case.classes, shape if case.network in (*DENSE, *DECODERS) else case.batch)
    return images, labels.astype(np.int32)


def jax_calls(case: Case) -> tuple[Calls, float]:
    """Functions that run the case and wait for it, and the seconds that compiling the step took."""
    import jax
    import jax.numpy as jnp
    import optax

    from jaxvision import zoo

    model = zoo.create(case.network, num_classes=case.classes, **case.fields)
    images, labels = map(jnp.asarray, batch_of(case))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0, impl="rbg"), images)
    optimizer = optax.sgd(1e-3, momentum=0.9)
    infer = jax.jit(functools.partial(model.apply, train=False))

    def step(params: Any, stats: Any, slots: Any, key: Any, images: Any, labels: Any) -> Any:
        def objective(params: Any) -> Any:
            logits, updates = model.apply(
                {"params": params, **stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updates

        (loss, stats), gradients = jax.value_and_grad(objective, has_aux=True)(params)
        updates, slots = optimizer.update(gradients, slots, params)
        return optax.apply_updates(params, updates), stats, slots, loss

    stats = {name: tree for name, tree in variables.items() if name != "params"}
    # The step's own copy: it is donated, while inference keeps the variables.
    params = jax.tree.map(jnp.copy, variables["params"])
    state = [params, jax.tree.map(jnp.copy, stats), optimizer.init(params)]
    keys = iter(jax.random.split(jax.random.key(1), 10_000))
    start = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, next(keys), images, labels).compile()
    seconds = time.perf_counter() - start

    def train() -> None:
        *state[:], loss = compiled(*state, next(keys), images, labels)
        if not jnp.isfinite(loss):
            raise SystemExit(f"{case.label}: the loss is {loss}")

    return {
        "inference": lambda: infer(variables, images).block_until_ready(),
        "training step": train,
    }, seconds


def torch_model(case: Case) -> Any:
    """The same network in PyTorch."""
    from oracles.torch_networks import FCN, UNet, vgg_features
    from torchvision.models import get_model

    if case.network in DECODERS:
        from oracles.torch_segnets import whole_model

        return whole_model(case.network, case.classes)
    if case.network == "unet":
        return UNet(3, case.classes, case.fields["features"], use_norm=case.fields["use_norm"])
    if case.network == "fcn8s_vgg16":
        widths = (64, 128, 256, 512, 512)
        return FCN(vgg_features((2, 2, 3, 3, 3), widths), widths, case.classes, stride=8)
    if case.network in SMP_CONTEXT:
        import segmentation_models_pytorch as smp

        return getattr(smp, SMP_CONTEXT[case.network])("resnet34", encoder_weights=None, classes=case.classes)
    if case.network in TORCHVISION:
        return get_model(case.network, weights=None, weights_backbone=None, num_classes=case.classes)
    return get_model(case.network, weights=None, num_classes=case.classes)


def torch_calls(case: Case, threads: int) -> tuple[Calls, float]:
    """Functions that run the case in eager PyTorch, channels_last; nothing is compiled."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = torch_model(case).to(memory_format=torch.channels_last)
    images, labels = batch_of(case)
    images = torch.from_numpy(images).permute(0, 3, 1, 2)  # a view of NHWC memory: channels_last
    labels = torch.from_numpy(labels).long()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def scores() -> Any:
        outputs = model(images)
        return outputs["out"] if isinstance(outputs, dict) else outputs

    def infer() -> None:
        model.eval()
        with torch.inference_mode():
            scores()

    def train() -> None:
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(scores(), labels).backward()
        optimizer.step()

    return {"inference": infer, "training step": train}, 0.0


def serve(peer: str, case: Case, threads: int) -> None:
    """A peer's process: reports its compile time, then answers each line with the times of each mode."""
    calls, compile_seconds = torch_calls(case, threads) if peer == "torch" else jax_calls(case)
    for call in calls.values():
        call()
    print(json.dumps({"compile": compile_seconds}), flush=True)
    for line in sys.stdin:
        times = {}
        for mode, call in calls.items():
            call()  # wakes the caches after the other peer's turn
            times[mode] = min(_timed(call) for _ in range(int(line)))
        # ru_maxrss is in KiB on Linux.
        times["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(times), flush=True)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(index: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of each mode, and MiB of peak memory, by peer; the peers take turns."""
    peers: dict[str, Any] = {}
    result: dict[str, dict[str, float]] = {}
    cache = {} if options.cache is None else {"JAX_COMPILATION_CACHE_DIR": options.cache}
    for name, python in (("jax", options.jax_python), ("torch", options.torch_python)):
        command = [python, __file__, "--serve", name, "--case", str(index), "--threads", str(options.threads)]
        peers[name] = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **ALLOCATOR, **cache},
        )
        result[name] = _answer(peers[name])  # before the next one starts, so that compiling has the cores
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for _ in range(options.rounds):
        for name, peer in peers.items():
            peer.stdin.write(f"{options.calls}\n")
            peer.stdin.flush()
            turns[name].append(_answer(peer))
    for name, peer in peers.items():
        peer.stdin.close()
        peer.wait()
        for mode in turns[name][0]:
            result[name][mode] = statistics.median(turn[mode] for turn in turns[name])
    return result


def _answer(peer: Any) -> dict[str, float]:
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a peer stopped; its own message is above")
    return json.loads(line)


def main() -> None:
    """Measures the cases and prints a markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=sys.executable, help="interpreter with jax and jaxvision")
    parser.add_argument(
        "--torch-python", default=sys.executable, help="interpreter with torch and torchvision"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer at each case")
    parser.add_argument("--calls", type=int, default=2, help="timed calls in a turn")
    parser.add_argument(
        "--threads", type=int, default=2, help="threads of PyTorch; JAX takes every core it sees"
    )
    parser.add_argument("--only", default="", help="cases whose label contains this")
    parser.add_argument("--cache", help="folder for JAX's persistent compilation cache; none by default")
    parser.add_argument("--output", help="write the figures, in seconds and MiB, to this JSON file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, CASES[options.case], options.threads)
        return
    print("| network | mode | JAX ms | torch ms | JAX / torch | compile s | peak MiB, JAX / torch |")
    print("|---|---|---:|---:|---:|---:|---:|")
    figures = {}
    for index, case in enumerate(CASES):
        if options.only not in case.label:
            continue
        figures[case.label] = result = measure(index, options)
        for mode in ("inference", "training step"):
            ours, theirs = result["jax"][mode], result["torch"][mode]
            row = [case.label, mode, f"{1e3 * ours:.0f}", f"{1e3 * theirs:.0f}", f"{ours / theirs:.2f}"]
            if mode == "training step":
                row.append(f"{result['jax']['compile']:.1f}")
                row.append(f"{result['jax']['peak']:.0f} / {result['torch']['peak']:.0f}")
            else:
                row += ["", ""]
            print("| " + " | ".join(row) + " |", flush=True)
    if options.output:
        Path(options.output).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
