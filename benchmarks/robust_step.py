"""What a step of adversarial training costs on this machine, as a multiple of an ordinary one.

    python benchmarks/robust_step.py --config experiments/vgg_fgsm_rs.py experiments/vgg_trades.py

Steps of each config and of the same config without its adversary take turns in one process, after
warm-up; the ratio is that of their medians.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

from fer_jax import cli, runtime

runtime.configure()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[Path("experiments/vgg_fgsm_rs.py")]
    )
    parser.add_argument("--repeats", type=int, default=10, help="timed steps of each (default: 10)")
    arguments = parser.parse_args()
    from fer_jax import config as configs

    for path in arguments.config:
        config = dataclasses.replace(configs.load(path), init_from="")
        plain = dataclasses.replace(
            config, adversary=configs.Adversary(), early_stopping=configs.EarlyStopping()
        )
        seconds = np.array(measure([plain, config], arguments.repeats))
        ordinary, adversarial = np.median(seconds, axis=1)
        method = config.adversary.method
        print(
            f"{path}: {method} {adversarial * 1e3:.0f} ms, ordinary {ordinary * 1e3:.0f} ms a step of {config.batch_size}: ",
            end="",
        )
        print(f"{adversarial / ordinary:.2f} times")


def measure(configs: list, repeats: int) -> list[list[float]]:
    """Seconds of each timed step of each config."""
    import jax
    import jax.numpy as jnp

    from fer_jax.training import loop as train
    from fer_jax.training.parallel import Devices

    devices, runs, seconds = Devices(), [], [[] for _ in configs]
    for config in configs:
        size = config.batch_size
        faces = jax.random.randint(jax.random.key(0), (size, 48, 48), 0, 256).astype(jnp.uint8)
        targets = jax.nn.one_hot(jnp.arange(size) % 7, 7)
        optimizer = train.make_optimizer(config, 1000, 100)
        step = train.make_step(config, optimizer, train.crop_of(config), 1000, devices)
        state = train.make_state(config, optimizer, targets)
        runs.append([step, state, faces, targets, jnp.arange(size)])
    for repeat in range(repeats + 1):  # the first compiles
        for run, times in zip(runs, seconds, strict=True):
            step, state, *rest = run
            began = time.perf_counter()
            run[1], _ = jax.block_until_ready(step(state, *rest))
            if repeat:
                times.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    sys.exit(cli.run(main))
