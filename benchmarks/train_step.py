"""A training step on the CPU: fer_jax's settings and layers against the same network in plain Flax.

    python benchmarks/train_step.py                # the network of experiments/vgg.py on what it
    looks at, batch 128

Each side runs in a fresh process, since XLA's flags and the allocator are settings of a process.
"Plain" is nn.Conv, nn.BatchNorm, nn.relu and nn.max_pool under jax's default settings. The sides
take turns, so that another load on the machine meets both. Prints the fastest of the timed steps,
after warm-up, and the ratio.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measure(plain: bool, batch: int, side: int, repeats: int) -> float:
    """Seconds of the fastest of `repeats` steps."""
    import jax
    import jax.numpy as jnp
    import optax

    from fer_jax import config, models

    architecture = config.load(ROOT / "experiments" / "vgg.py").model
    model = (
        _plain_vgg(architecture["stages"])
        if plain
        else models.create({**architecture, "dropout": 0.0})
    )
    # plain Flax crops nothing: both are to do the same work
    side = min(side, models.create(architecture).crop)
    images = jax.random.uniform(jax.random.key(0), (batch, side, side, 1))
    labels = jnp.arange(batch) % 7
    variables = model.init(jax.random.key(1), images[:1])
    optimizer = optax.sgd(0.01, 0.9, nesterov=True)

    def loss_fn(params, statistics):
        logits, updates = model.apply(
            {"params": params, "batch_stats": statistics},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates[
            "batch_stats"
        ]

    def step(params, statistics, state):
        gradient, statistics = jax.grad(loss_fn, has_aux=True)(params, statistics)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state

    step = jax.jit(step, donate_argnums=(0, 1, 2))
    carry = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
    carry = jax.block_until_ready(step(*carry))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        carry = jax.block_until_ready(step(*carry))
        times.append(time.perf_counter() - began)
    return min(times)


def _plain_vgg(stages):
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side (default: 3)")
    parser.add_argument("--worker", choices=("plain", "tuned"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.repeats, args.rounds) < 1:
        parser.error("--repeats and --rounds must be at least 1")
    if args.worker:
        if args.worker == "tuned":
            from fer_jax import runtime

            runtime.configure()
        print(json.dumps(measure(args.worker == "plain", args.batch, args.side, args.repeats)))
        return
    seconds = {"plain": [], "tuned": []}
    for _ in range(args.rounds):
        for worker, found in seconds.items():
            command = [
                sys.executable,
                __file__,
                "--worker",
                worker,
                "--batch",
                str(args.batch),
                "--side",
                str(args.side),
            ]
            command += ["--repeats", str(args.repeats)]
            found.append(
                json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
            )
            print(f"{worker:6} {found[-1] * 1e3:8.0f} ms a step", flush=True)
    ratio = min(seconds["plain"]) / min(seconds["tuned"])
    print(f"fer_jax is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
