"""A training step on the CPU: fer_jax, plain Flax, and PyTorch in float32 and in bfloat16.

    python benchmarks/train_step.py        # the network of experiments/vgg.py, batch 128, 40x40

"flax" is nn.Conv, nn.BatchNorm, nn.relu and nn.max_pool under jax's default settings. The sides of
torch (extra `oracles`; left out where it is not installed) have the same layers with channels last,
in float32 and under autocast. Each side is a fresh process, since flags and allocators are settings
of a process; the sides take turns, so that another load on the machine meets all of them. Prints
the fastest step of each side after warm-up, and each side's time as a multiple of ours.
"""

# pyright: reportMissingImports=false
import argparse
import importlib.util
import subprocess
import sys
import timeit
from collections.abc import Callable

from fer_jax import cli, config, files, runtime

SIDES = ("flax", "fer_jax", "torch-float32", "torch-bfloat16")
WARM_UP = 3  # steps
RATE, MOMENTUM = 0.01, 0.9


def main() -> None:
    args = parse_arguments()
    if args.worker:
        stages = config.load(files.root() / "experiments" / "vgg.py").model["stages"]
        make = torch_step if args.worker.startswith("torch") else jax_step
        times = timeit.repeat(make(args, stages), number=1, repeat=WARM_UP + args.repeats)
        print(min(times[WARM_UP:]))
        return
    has_torch = importlib.util.find_spec("torch")
    if not has_torch:
        print("torch: not installed, see --help", file=sys.stderr)
    sides = [side for side in SIDES if has_torch or not side.startswith("torch")]
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(args.rounds):
        for side in sides:
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", side]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds[side].append(float(done.stdout))
            print(f"{side:15} {seconds[side][-1] * 1e3:8.0f} ms a step", flush=True)
    ours = min(seconds["fer_jax"])
    for side in sides:
        print(f"{side:15} {min(seconds[side]) / ours:5.2f} times the time of fer_jax")


def jax_step(args: argparse.Namespace, stages: list[list[int]]) -> Callable[[], object]:
    if args.worker == "fer_jax":
        runtime.configure(training=True)
    import jax
    import jax.numpy as jnp
    import optax

    from fer_jax import models
    from fer_jax.models.layers import training_dtype

    architecture = {"family": "vgg", "stages": stages}
    ours = args.worker == "fer_jax"
    model = models.create(architecture, training_dtype()) if ours else plain_vgg(stages)
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


def torch_step(args: argparse.Namespace, stages: list[list[int]]) -> Callable[[], object]:
    import torch
    from torch import nn

    modules, channels = [], 1
    for stage in stages:
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
    parser = cli.parser(__doc__)
    option = parser.add_argument
    option("--batch", type=int, default=128, help="images (default: 128)")
    option("--side", type=int, default=40, help="of the images (default: 40)")
    option("--repeats", type=int, default=10, help="timed steps (default: 10)")
    option("--rounds", type=int, default=3, help="processes of a side (default: 3)")
    option("--worker", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.batch, args.side, args.repeats, args.rounds) < 1:
        parser.error("--batch, --side, --repeats and --rounds must be at least 1")
    return args


if __name__ == "__main__":
    main()
