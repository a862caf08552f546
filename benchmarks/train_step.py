"""A training step on the CPU: fer_jax, plain Flax, and PyTorch in float32 and in bfloat16.

    python benchmarks/train_step.py        # the network of experiments/vgg.py, batch 128, 40x40
    python benchmarks/train_step.py --torch-python ../other/.venv/bin/python

"flax" is nn.Conv, nn.BatchNorm, nn.relu and nn.max_pool under jax's default settings. The sides of
torch (extra `oracles`; left out where it is not installed) have the same layers with channels last,
in float32 and under autocast. Each side is a fresh process, since flags and allocators are settings
of a process; the sides take turns, so that another load on the machine meets all of them. Prints
the fastest step of each side after warm-up, and each side's time as a multiple of ours.
"""

# pyright: reportMissingImports=false
import argparse
import json
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("flax", "fer_jax", "torch-float32", "torch-bfloat16")
WARM_UP = 3  # steps
RATE, MOMENTUM = 0.01, 0.9


def main() -> None:
    args = parse_arguments()
    if args.worker:
        step = (torch_step if args.worker.startswith("torch") else jax_step)(args)
        times = timeit.repeat(step, number=1, repeat=WARM_UP + args.repeats)
        print(min(times[WARM_UP:]))
        return
    sides = [side for side in SIDES if not side.startswith("torch") or has_torch(args.torch_python)]
    for side in sorted(set(SIDES) - set(sides)):
        print(f"{side}: no torch in {args.torch_python}; see --help", file=sys.stderr)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side in sides:
            seconds[side].append(measure(side, args))
            print(f"{side:15} {seconds[side][-1] * 1e3:8.0f} ms a step", flush=True)
    ours = min(seconds["fer_jax"])
    for side in sides:
        print(f"{side:15} {min(seconds[side]) / ours:5.2f} times the time of fer_jax")


def measure(side: str, args: argparse.Namespace) -> float:
    """Return the seconds of the fastest step of one side, in a process of its own."""
    python = args.torch_python if side.startswith("torch") else sys.executable
    options = ["--worker", side, "--batch", args.batch, "--side", args.side]
    options += ["--repeats", args.repeats, "--stages", json.dumps(args.stages)]
    command = [python, __file__, *map(str, options)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def has_torch(python: str) -> bool:
    command = [python, "-c", "import torch"]
    return subprocess.run(command, capture_output=True).returncode == 0


def jax_step(args: argparse.Namespace) -> Callable[[], object]:
    if args.worker == "fer_jax":
        from fer_jax import runtime

        runtime.configure(training=True)
    import jax
    import jax.numpy as jnp
    import optax

    from fer_jax import models
    from fer_jax.models.layers import training_dtype

    architecture = {"family": "vgg", "stages": args.stages}
    ours = args.worker == "fer_jax"
    model = models.create(architecture, training_dtype()) if ours else plain_vgg(args.stages)
    images = jax.random.uniform(jax.random.key(0), (args.batch, args.side, args.side, 1))
    labels = jnp.arange(args.batch) % 7
    variables = model.init(jax.random.key(1), images[:1])
    optimizer = optax.sgd(RATE, MOMENTUM, nesterov=True)

    def loss_fn(params, statistics):
        variables = {"params": params, "batch_stats": statistics}
        logits, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return loss, updates["batch_stats"]

    def update(params, statistics, state):
        gradient, statistics = jax.grad(loss_fn, has_aux=True)(params, statistics)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state

    update = jax.jit(update, donate_argnums=(0, 1, 2))
    params = variables["params"]
    carry = [(params, variables["batch_stats"], optimizer.init(params))]

    def step():
        carry[0] = jax.block_until_ready(update(*carry[0]))

    return step


def plain_vgg(stages: list[list[int]]):
    import flax.linen as nn

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            x = (images - 0.508) / 0.255
            for stage in stages:
                for width in stage:
                    x = nn.Conv(width, (3, 3), use_bias=False)(x)
                    x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
                x = nn.max_pool(x, (2, 2), (2, 2))
            return nn.Dense(7)(x.mean(axis=(1, 2)))

    return Plain()


def torch_step(args: argparse.Namespace) -> Callable[[], object]:
    import torch
    from torch import nn

    modules, channels = [], 1
    for stage in args.stages:
        for width in stage:
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            modules += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        modules.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 7)]
    network = nn.Sequential(*modules, *head).to(memory_format=torch.channels_last)
    images = torch.rand(args.batch, 1, args.side, args.side).to(memory_format=torch.channels_last)
    labels = torch.arange(args.batch) % 7
    optimizer = torch.optim.SGD(network.parameters(), RATE, MOMENTUM, nesterov=True)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.worker.endswith("bfloat16")):
            logits = network((images - 0.508) / 0.255)
            loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()

    return step


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--batch", type=int, default=128, help="images (default: 128)")
    parser.add_argument("--side", type=int, default=40, help="of the images (default: 40)")
    parser.add_argument("--repeats", type=int, default=10, help="timed steps (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of a side (default: 3)")
    text = "interpreter that has torch (default: this one)"
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH", help=text)
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--stages", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.batch, args.side, args.repeats, args.rounds) < 1:
        parser.error("--batch, --side, --repeats and --rounds must be at least 1")
    if args.stages is None:
        from fer_jax import config

        args.stages = config.load(ROOT / "experiments" / "vgg.py").model["stages"]
    return args


if __name__ == "__main__":
    main()
