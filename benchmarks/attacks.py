"""PGD on the CPU: ours against foolbox (JAX) and torchattacks (torch float32), on one network.

    pip install -e '.[oracles]'
    pip install --no-deps torchattacks==3.5.1  # without its pinned requests and unused torchvision
    python benchmarks/attacks.py               # 512 images, 40 steps, the shipped model

Each library runs in a fresh process with all cores, after a warm-up on the first batch, from a
random start within Linf 8/255 by steps of 2/255; foolbox gets our compiled network and process
settings. Prints the fastest of the repeats, which take turns, and ours as a multiple of each
other's speed.
"""

# pyright: reportMissingImports=false

import argparse
import functools
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_jax import cli
from fer_jax.errors import InputError

EPS, STEP_SIZE = 8 / 255, 2 / 255
Library = tuple[Callable, Callable]  # images -> logits; and images, labels, steps -> images


def main() -> None:
    args = parse_arguments()
    if args.worker:
        print(json.dumps(measure(args)))
        return
    names = [name for name in LIBRARIES if name == "fer_jax" or importlib.util.find_spec(name)]
    for name in LIBRARIES.keys() - names:
        print(f"{name}: not installed, see --help", file=sys.stderr)
    runs = [{name: run(name) for name in names} for _ in range(args.repeats)]
    fastest = {name: min(each[name]["seconds"] for each in runs) for name in names}
    for name, seconds in fastest.items():
        ratio = f"; fer_jax is {seconds / fastest['fer_jax']:.2f} times as fast"
        fooled = f"{runs[0][name]['fooled']:.1%} fooled"
        print(f"{name:12} {seconds:7.2f} s, {fooled}{ratio if name != 'fer_jax' else ''}")


def run(name: str) -> dict[str, float]:
    """Measure one library in a process of its own; torch as its users have it."""
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
    tuning = {"FER_JAX_TUNE": "0"} if name == "torchattacks" else {}
    options = {"env": os.environ | tuning, "stdout": subprocess.PIPE, "text": True}
    return json.loads(subprocess.run(command, check=True, **options).stdout)


def measure(args: argparse.Namespace) -> dict[str, float]:
    """Return the seconds that all images take, and the share whose class has changed."""
    patches = np.random.default_rng(0).uniform(0, 1, (args.n, 6, 6, 1)).astype(np.float32)
    images = patches.repeat(8, axis=1).repeat(8, axis=2)
    logits_fn, attack_fn = LIBRARIES[args.worker](args.model)
    predict = lambda images: np.asarray(logits_fn(images))
    attack = lambda *given: np.asarray(attack_fn(*given))
    batches = [slice(start, start + args.batch) for start in range(0, args.n, args.batch)]
    labels = np.concatenate([predict(images[batch]).argmax(axis=1) for batch in batches])
    attack(images[batches[0]], labels[batches[0]], 2)
    began = time.perf_counter()
    hacked = np.concatenate([attack(images[part], labels[part], args.steps) for part in batches])
    seconds = time.perf_counter() - began
    after = np.concatenate([predict(hacked[batch]).argmax(axis=1) for batch in batches])
    return {"seconds": seconds, "fooled": float((after != labels).mean())}


def ours(path: Path | None) -> Library:
    import jax

    from fer_jax.attacks import pgd
    from fer_jax.predict import Predictor

    logits_fn = Predictor(path).logits_fn
    key = jax.random.key(0)
    attack = functools.partial(pgd, eps=EPS, step_size=STEP_SIZE)
    return logits_fn, lambda x, labels, steps: attack(key, logits_fn, x, labels, steps=steps)


def foolbox(path: Path | None) -> Library:
    import jax.numpy as jnp
    from foolbox.attacks import LinfPGD
    from foolbox.models.jax import JAXModel

    from fer_jax.predict import Predictor

    logits_fn = Predictor(path).logits_fn

    def attack(images: np.ndarray, labels: np.ndarray, steps: int):
        theirs = LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=True)
        model = JAXModel(logits_fn, bounds=(0, 1))
        return theirs.run(model, jnp.asarray(images), jnp.asarray(labels), epsilon=EPS)

    return logits_fn, attack


def torchattacks(path: Path | None) -> Library:
    import torch
    import torch_oracle
    from torchattacks import PGD

    from fer_jax.predict import load_model

    network = torch_oracle.network(load_model(path))

    def attack(images: np.ndarray, labels: np.ndarray, steps: int) -> np.ndarray:
        theirs = PGD(network, eps=EPS, alpha=STEP_SIZE, steps=steps, random_start=True)
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
        return np.moveaxis(theirs(x, torch.from_numpy(labels)).numpy(), 1, -1)

    return lambda images: torch_oracle.logits(network, images), attack


LIBRARIES = {"fer_jax": ours, "foolbox": foolbox, "torchattacks": torchattacks}


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__)
    option = parser.add_argument
    option("--n", type=int, default=512, help="images, whole batches of them (default: 512)")
    option("--steps", type=int, default=40, help="of PGD (default: 40)")
    option("--batch", type=int, default=64, help="images attacked together (default: 64, or n)")
    option("--repeats", type=int, default=2, help="processes of each library (default: 2)")
    cli.add_model(parser)
    option("--worker", choices=LIBRARIES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.n, args.steps, args.batch, args.repeats) < 1:
        parser.error("--n, --steps, --batch and --repeats must be at least 1")
    args.batch = min(args.batch, args.n)
    if args.n % args.batch:
        rule = f"must be a multiple of --batch {args.batch}, so that all is compiled once"
        raise InputError(f"--n {rule}, received {args.n}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
