"""Times training steps on 1 to 8 virtual CPU devices, counts what they send, and projects to real chips.

    python tests/benchmarks/scale.py                 # time and traffic on virtual devices
    python tests/benchmarks/scale.py --project       # and the projection for ResNet-50, which takes minutes

Virtual devices share the cores of one machine, so nothing gets faster: what is measured is what it costs to
divide the work. Strong scaling keeps the batch of a step; its overhead is the time of a step over that on one
device. Weak scaling keeps the batch of a device; its overhead is the time of a step over that of the same
batch on one device. Each number of devices has a process of its own, the processes take turns, and a figure
is the median over turns of the fastest step in a turn.

Traffic is counted in the compiled program. The least that synchronous training can send is one sum of the
gradients and, of each synced BatchNorm, of two numbers a channel; what it sums backward are the gradients of
its scale and bias.

The projection takes the collectives of the program for 8 devices, whose sizes are the same for any number of
devices, and puts them on links of published speed; nothing of it is measured. Computing is XLA's count of
floating point operations over a share of the chip's peak (``--utilisation``). Two bounds are given: nothing
of the communication hidden behind computing, and all of it that can be.

References:
  Speeds of TPU v5e and v5p: cloud.google.com/tpu/docs/v5e and /v5p: 197 and 459 TFLOP/s in bfloat16, 400 and
  1,200 GB/s of interconnect a chip, both directions together. Of H100 SXM: NVIDIA H100 Tensor Core GPU data
  sheet: 989 TFLOP/s in bfloat16 without sparsity, NVLink 900 GB/s both directions together; between servers
  of 8, one port of 400 Gb/s a GPU: NVIDIA DGX H100 data sheet. Latency of a TPU's hop, about 1 microsecond:
  Austin et al. 2025, "How to Scale Your Model", part 2. Of NVLink and InfiniBand, 1 and 5 are assumed.
  Trees: Sanders, Speck and Traeff 2009, "Two-tree algorithms for full bandwidth broadcast, reduction and
    scan".
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that benchmarks is found

from benchmarks.ops import ALLOCATOR

COUNTS = (1, 2, 4, 8)
CHIPS = (8, 64, 512)


class System(NamedTuple):
    """Chips and their links, in FLOP/s, bytes a second that a chip sends, and seconds.

    Attributes:
      meshes: by number of chips: the torus that they form; those of a server form a ring of ``server``.
      server: chips that the fast links connect; None for all of a mesh.
      beyond: bytes a second that a chip sends to another server.
    """

    name: str
    peak: float
    link: float
    hop: float
    meshes: dict[int, tuple[int, ...]]
    server: int | None = None
    beyond: float = math.inf
    beyond_hop: float = 0.0


SYSTEMS = (
    System("TPU v5e", 197e12, 200e9, 1e-6, {8: (2, 4), 64: (8, 8)}),  # a pod has 256
    System("TPU v5p", 459e12, 600e9, 1e-6, {8: (2, 2, 2), 64: (4, 4, 4), 512: (8, 8, 8)}),
    System("H100", 989e12, 450e9, 1e-6, {8: (8,), 64: (8, 8), 512: (8, 64)}, 8, 50e9, 5e-6),
)


def make_step(network: str, size: int, parallel: str, classes: int = 1000) -> Any:
    """A step for its placement, not compiled yet; the placement; what makes a state; the state as shapes."""
    import jax
    import optax

    from jaxvision import training, zoo
    from jaxvision.tasks import ClassificationLossOptions, classification_task

    placement = training.make_placement(parallel)
    model = zoo.create(network, num_classes=classes, axis_name=placement.axis_name)
    loss = ClassificationLossOptions().build(classes)
    task = classification_task(model, loss, num_classes=classes, image_size=(size, size))
    optimizer = optax.sgd(0.01, momentum=0.9)
    step = placement.compile_step(
        training.make_train_step(task, optimizer, axis_name=placement.axis_name, whole=placement.whole)
    )

    def create() -> Any:
        return training.create_train_state(task, optimizer, seed=0)

    return step, placement, create, jax.eval_shape(create)


def make_batch(size: int, count: int) -> dict[str, Any]:
    """Images that cost no time to make."""
    import numpy as np

    images = np.random.default_rng(0).standard_normal((count, size, size, 3)).astype(np.float32)
    return {"images": images, "labels": np.arange(count, dtype=np.int32), "where": np.ones(count, bool)}


def least_bytes(state: Any) -> int:
    """What synchronous training with synced BatchNorm must send: gradients, and two numbers a channel."""
    import jax

    def size(tree: Any) -> int:
        return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))

    return size(state.params) + size(state.model_state)


def serve(options: argparse.Namespace) -> None:
    """One number of devices: reads batch sizes, runs steps, writes their least time and what they send."""
    import jax

    jax.config.update("jax_num_cpu_devices", options.serve)
    from jaxvision import training

    compiled: dict[int, Any] = {}
    for line in sys.stdin:
        count, seconds = json.loads(line)
        if count not in compiled:
            step, placement, create, shapes = make_step(options.network, options.size, options.parallel)
            step = training.CompiledStep(step)
            state, batch = placement.place(create()), placement.shard(make_batch(options.size, count))
            compiled[count] = [step, state, batch, shapes]
        step, state, batch, shapes = compiled[count]
        times, until = [], time.perf_counter() + seconds
        while not times or time.perf_counter() < until:
            started = time.perf_counter()
            state, metrics = step(state, batch)
            jax.block_until_ready((state, metrics))
            times.append(time.perf_counter() - started)
        compiled[count][1] = state
        sent = training.count_collectives(step.program_text(), num_devices=options.serve)
        answer = {"seconds": min(times), "collectives": sent, "least": least_bytes(shapes)}
        print(json.dumps(answer), flush=True)


def start(count: int, options: argparse.Namespace) -> Any:
    """A process for one number of devices."""
    command = [sys.executable, __file__, "--serve", str(count), "--network", options.network]
    return subprocess.Popen(
        [*command, "--size", str(options.size), "--parallel", options.parallel],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ALLOCATOR, "JAX_PLATFORMS": "cpu"},
    )


def ask(peer: Any, count: int, seconds: float) -> dict[str, Any]:
    """One turn of a process with a batch of that size."""
    peer.stdin.write(json.dumps([count, seconds]) + "\n")
    peer.stdin.flush()
    line = peer.stdout.readline()
    if not line:
        raise SystemExit("a process stopped; its own message is above")
    return json.loads(line)


def measure(options: argparse.Namespace) -> None:
    """Prints the tables of time and traffic."""
    batch = options.batch
    wanted = {1: sorted({batch // 8 * k for k in COUNTS} | {batch})}  # one device runs every batch
    wanted |= {count: sorted({batch, batch // 8 * count}) for count in COUNTS[1:]}
    peers = {count: start(count, options) for count in COUNTS}
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for turn in range(options.turns + 1):  # the first compiles
        for count, peer in peers.items():
            for size in wanted[count]:
                answer = ask(peer, size, options.seconds if turn else 0.0)
                if turn:
                    found.setdefault((count, size), []).append(answer)
    for peer in peers.values():
        peer.stdin.close()
        peer.wait()
    seconds = {key: statistics.median(a["seconds"] for a in answers) for key, answers in found.items()}
    print(f"\n{options.network} at {options.size} px, {options.parallel}, {os.cpu_count()} cores\n")
    print("| devices | batch | step, ms | overhead | batch a device | step, ms | overhead ", end="")
    print("| sent, MB | of least | collectives |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for count in COUNTS:
        strong, weak = seconds[count, batch], seconds[count, batch // 8 * count]
        last = found[count, batch][-1]
        total = sum(size for _, size, _ in last["collectives"])
        share = f"{total / last['least']:.3f}" if count > 1 else "-"
        print(
            f"| {count} | {batch} | {1e3 * strong:.1f} | {strong / seconds[1, batch]:.2f} | {batch // 8} | "
            f"{1e3 * weak:.1f} | {weak / seconds[1, batch // 8 * count]:.2f} | {total / 1e6:.2f} | {share} | "
            f"{len(last['collectives'])} |"
        )


def count_network(options: argparse.Namespace) -> None:
    """Writes what a step of 8 devices computes and sends, without running it."""
    import jax

    jax.config.update("jax_num_cpu_devices", 8)
    from jaxvision import training

    step, _, _, shapes = make_step(options.network, options.size, options.parallel)
    batch = {
        name: jax.ShapeDtypeStruct((8 * x.shape[0], *x.shape[1:]), x.dtype)
        for name, x in make_batch(options.size, 1).items()
    }
    lowered = step.lower(shapes, batch)
    sent = training.count_collectives(lowered.compile().as_text(), num_devices=8)
    flops = lowered.cost_analysis()["flops"] / 8
    print(json.dumps({"flops": flops, "collectives": sent, "least": least_bytes(shapes)}))


def communication(system: System, chips: int, sent: list[Any]) -> float:
    """Seconds of all collectives on so many chips: in the fast links, then between servers."""
    from jaxvision.training import Collective, ring_seconds

    collectives = [Collective(*item) for item in sent]
    mesh = system.meshes[chips]
    if system.server is None:
        hops = sum(axis - 1 for axis in mesh)
        return ring_seconds(
            collectives, chips, bytes_per_second=system.link, hop_seconds=system.hop, hops=hops
        )
    inside = ring_seconds(collectives, system.server, bytes_per_second=system.link, hop_seconds=system.hop)
    servers = chips // system.server
    if servers == 1:
        return inside
    parts = [item._replace(size=item.size // system.server) for item in collectives]  # each chip has a part
    # Between servers NCCL goes up and down two binary trees, which send as much as a ring in fewer hops.
    outside = {"bytes_per_second": system.beyond, "hop_seconds": system.beyond_hop}
    return inside + ring_seconds(parts, servers, hops=math.ceil(math.log2(servers)), **outside)


def project(counted: dict[str, Any], options: argparse.Namespace) -> str:
    """The projection as a table in Markdown."""
    lines = [
        f"Projection, not measured: {options.network} at {options.size} px, {options.images} images a chip "
        f"and step, {counted['flops'] * options.images / 1e12:.2f} TFLOP a chip at {options.utilisation:.0%} "
        f"of the peak in bfloat16; {len(counted['collectives'])} collectives of "
        f"{sum(size for _, size, _ in counted['collectives']) / 1e6:.1f} MB in all.",
        "",
        "| chip | chips | computing, ms | sending, ms | efficiency, nothing hidden | as much as can be |",
        "|:--|--:|--:|--:|--:|--:|",
    ]
    for system in SYSTEMS:
        computing = counted["flops"] * options.images / (system.peak * options.utilisation)
        for chips in CHIPS:
            if chips not in system.meshes:
                continue
            sending = communication(system, chips, counted["collectives"])
            lines.append(
                f"| {system.name} | {chips} | {1e3 * computing:.2f} | {1e3 * sending:.2f} | "
                f"{computing / (computing + sending):.1%} | {min(1.0, computing / sending):.1%} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="cifar_resnet20")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128, help="images a step, of strong scaling")
    parser.add_argument("--parallel", default="jit", choices=("jit", "pmap"))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--project", action="store_true", help="project a network to real chips")
    parser.add_argument("--project-network", default="resnet50")
    parser.add_argument("--project-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=128, help="a chip and step, of the projection")
    parser.add_argument(
        "--utilisation", type=float, default=0.4, help="share of the peak that is computed at"
    )
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options)
    elif options.count:
        count_network(options)
    else:
        measure(options)
        if options.project:
            options.network, options.size = options.project_network, options.project_size
            command = [sys.executable, __file__, "--count", "--network", options.network]
            done = subprocess.run(
                [*command, "--size", str(options.size), "--parallel", options.parallel],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "JAX_PLATFORMS": "cpu"},
            )
            print("\n" + project(json.loads(done.stdout), options))


if __name__ == "__main__":
    main()
