"""PGD on the CPU: ours against foolbox (JAX) and torchattacks (torch float32), on the same network
and images.

    pip install -e '.[oracles]'
    pip install --no-deps torchattacks==3.5.1      # its pinned requests and its unused torchvision
    stay out python benchmarks/attacks.py                   # 512 images, 40 steps, the shipped
    model

Each library runs in a fresh process with all cores, after a warm-up on the first batch, from a
random start within Linf 8/255 by steps of 2/255; foolbox gets our compiled network and process
settings. Prints the fastest of the repeats, which take turns, and ours as a multiple of each
other's speed.
"""

# pyright: reportMissingImports=false
import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fer_jax import cli
from fer_jax.errors import InputError

EPS, STEP_SIZE = 8 / 255, 2 / 255
Run = Callable[[np.ndarray, np.ndarray, int], np.ndarray]  # images, labels, steps -> images


def main() -> None:
    args = parse_arguments()
    if args.worker:
        print(json.dumps(measure(args)))
        return
    sides = [side for side in SIDES if side == "fer_jax" or importlib.util.find_spec(side)]
    for side in SIDES.keys() - sides:
        print(f"{side}: not installed, see --help", file=sys.stderr)
    found = {side: [] for side in sides}
    for _ in range(args.repeats):
        for side in sides:
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", side]
            found[side].append(
                json.loads(
                    subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                )
            )
    ours = min(run["seconds"] for run in found["fer_jax"])
    for side, runs in found.items():
        seconds = min(run["seconds"] for run in runs)
        ratio = "" if side == "fer_jax" else f"; fer_jax is {seconds / ours:.2f} times as fast"
        print(f"{side:12} {seconds:7.2f} s, {runs[0]['fooled']:.1%} fooled{ratio}")


def measure(args: argparse.Namespace) -> dict:
    """Seconds that all images take, and the share whose class has changed."""
    random = np.random.default_rng(0)
    images = (
        random.uniform(0, 1, (args.n, 6, 6, 1))
        .astype(np.float32)
        .repeat(8, axis=1)
        .repeat(8, axis=2)
    )
    predict, run = SIDES[args.worker](args.model)
    batches = [slice(start, start + args.batch) for start in range(0, args.n, args.batch)]
    labels = np.concatenate([predict(images[batch]).argmax(axis=1) for batch in batches])
    run(images[batches[0]], labels[batches[0]], 2)
    began = time.perf_counter()
    hacked = np.concatenate([run(images[batch], labels[batch], args.steps) for batch in batches])
    seconds = time.perf_counter() - began
    fooled = np.concatenate([predict(hacked[batch]).argmax(axis=1) for batch in batches]) != labels
    return {"seconds": seconds, "fooled": float(fooled.mean())}


def ours(path: Path | None) -> tuple[Callable, Run]:
    logits_fn = _compiled(path)
    import jax

    from fer_jax.attacks import pgd

    def run(images: np.ndarray, labels: np.ndarray, steps: int) -> np.ndarray:
        return np.asarray(
            pgd(
                jax.random.key(0),
                logits_fn,
                images,
                labels,
                eps=EPS,
                step_size=STEP_SIZE,
                steps=steps,
            )
        )

    return lambda images: np.asarray(logits_fn(images)), run


def foolbox(path: Path | None) -> tuple[Callable, Run]:
    logits_fn = _compiled(path)
    import jax.numpy as jnp
    from foolbox import JAXModel
    from foolbox.attacks import LinfPGD

    def run(images: np.ndarray, labels: np.ndarray, steps: int) -> np.ndarray:
        attack = LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=True)
        model = JAXModel(logits_fn, bounds=(0, 1))
        return np.asarray(attack.run(model, jnp.asarray(images), jnp.asarray(labels), epsilon=EPS))

    return lambda images: np.asarray(logits_fn(images)), run


def torchattacks(path: Path | None) -> tuple[Callable, Run]:
    import torch
    import torch_oracle
    from torchattacks import PGD

    from fer_jax.predict import load_model

    network = torch_oracle.network(load_model(path))

    def run(images: np.ndarray, labels: np.ndarray, steps: int) -> np.ndarray:
        attack = PGD(network, eps=EPS, alpha=STEP_SIZE, steps=steps, random_start=True)
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))
        return np.moveaxis(attack(x, torch.from_numpy(labels)).numpy(), 1, -1)

    return lambda images: torch_oracle.logits(network, images), run


SIDES = {"fer_jax": ours, "foolbox": foolbox, "torchattacks": torchattacks}


def _compiled(path: Path | None):
    from fer_jax import runtime

    runtime.configure()
    from fer_jax.predict import Predictor

    return Predictor(path).logits_fn


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--n", type=int, default=512, help="images, whole batches of them (default: 512)"
    )
    parser.add_argument("--steps", type=int, default=40, help="of PGD (default: 40)")
    parser.add_argument(
        "--batch", type=int, default=64, help="images attacked together (default: 64, at most n)"
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="fresh processes of each library (default: 2)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.n, args.steps, args.batch, args.repeats) < 1:
        parser.error("--n, --steps, --batch and --repeats must be at least 1")
    args.batch = min(args.batch, args.n)
    if args.n % args.batch:
        raise InputError(
            f"--n must be a multiple of --batch {args.batch}, so that all is compiled once, received {args.n}"
        )
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
