"""What a step of adversarial training costs on this machine, as a multiple of an ordinary one.

    python benchmarks/robust_step.py --config experiments/vgg_fgsm_rs.py

Both take turns in one process, after warm-up; the ratio is that of their medians.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_jax import cli, files
from fer_jax.config import Adversary, Config, EarlyStopping, load


def main() -> None:
    parser = cli.parser(__doc__)
    default = [files.root() / "experiments" / "vgg_fgsm_rs.py"]
    parser.add_argument("--config", type=Path, nargs="+", default=default)
    parser.add_argument("--repeats", type=int, default=10, help="timed steps (default: 10)")
    args = parser.parse_args()
    for path in args.config:
        config = replace(load(path), init_from="")
        plain = replace(config, adversary=Adversary(), early_stopping=EarlyStopping())
        seconds = np.array(measure([plain, config], args.repeats))
        ordinary, adversarial = np.median(seconds, axis=1)
        costs = f"{adversarial * 1e3:.0f} ms, ordinary {ordinary * 1e3:.0f} ms"
        step = f"a step of {config.batch_size}: {adversarial / ordinary:.2f} times"
        print(f"{path}: {config.adversary.method} {costs} {step}")


def measure(configs: list[Config], repeats: int) -> list[list[float]]:
    """Return the seconds of each timed step of each config."""
    import jax
    import jax.numpy as jnp

    from fer_jax import models
    from fer_jax.training import step as train
    from fer_jax.training.parallel import Devices

    devices = Devices()
    runs, seconds = [], [[] for _ in configs]
    for config in configs:
        size = config.batch_size
        faces = jax.random.randint(jax.random.key(0), (size, 48, 48), 0, 256).astype(jnp.uint8)
        targets = jax.nn.one_hot(jnp.arange(size) % 7, 7)
        optimizer = train.make_optimizer(config, 1000, 100)
        step = train.make_step(config, optimizer, models.create(config.model).crop, 1000, devices)
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
    sys.exit(cli.run(main, training=True))
