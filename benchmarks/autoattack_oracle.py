"""AutoAttack, ours against pyautoattack's: the same weights and test images; how many stay right,
and how long it takes.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, runtime
from fer_jax.errors import InputError
from fer_jax.robustness.journal import Journal

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Split

SIDES = ("fer_jax", "pyautoattack")
STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")
TOGETHER = {"cpu": 64, "cuda": 512}  # images that are attacked at once
# how far both sides' logits may be apart: GPUs round what convolutions multiply to TF32
ALIKE = {"cpu": 1e-4, "cuda": 3e-2}
EPILOG = """examples:
  pip install -e '.[oracles]'
  python benchmarks/autoattack_oracle.py --data data --norm linf --eps 0.5/255
  python benchmarks/autoattack_oracle.py --data data --norm l2 --eps 0.1 --n 100 --timed 0

The n test images are the random sample of scripts/attack_bench.py. Each side runs in a process of its own with all cores,
judges by its own copy of the network, and keeps what it found in OUT after every batch: the same command goes on where it
was stopped; OUT/accuracy.csv has the accuracies. Then both attack, once more, --timed of the images that survived both, on
which every attack takes its full time (compiling included). All other classes are targets.
"""


class Side(NamedTuple):
    """One of the two: logits of images, and attacks by stage as (images, labels, number of the
    batch) -> images.
    """

    logits: Callable[[np.ndarray], np.ndarray]
    attacks: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]]


def main() -> None:
    args = parse_arguments()
    if args.worker != "pyautoattack":  # torch is timed as its users have it
        runtime.configure()
    if args.worker:
        work(args)
        return
    if missing := [
        name for name in ("torch", "pyautoattack") if not importlib.util.find_spec(name)
    ]:
        raise InputError(f"{' and '.join(missing)} must be installed: pip install -e '.[oracles]'")
    rows = sample(args)
    logs = [run(args, side, "all", rows) for side in SIDES]
    table = accuracies(*logs, args.n)
    write(args, table)
    print(compare(table, logs[0], logs[1]))
    survivors = sorted(set(logs[0].survivors(rows)) & set(logs[1].survivors(rows)))[: args.timed]
    if survivors:
        logs = [run(args, side, "survivors", survivors) for side in SIDES]
        print(compare_times(logs[0], logs[1], len(survivors)))


class Log:
    """What one side found so far: whether a stage broke a row's image, and in how many seconds (a
    batch's, shared out).
    """

    def __init__(self, folder: Path, settings: dict):
        self.journal = Journal(folder, settings, ("stage", "row", "broken", "seconds"))

    @property
    def table(self) -> pd.DataFrame:
        return self.journal.table

    def add(self, stage: str, rows: list[int], broken: list[int], seconds: float) -> None:
        self.journal.add(
            stage=stage, row=rows, broken=np.isin(rows, broken), seconds=seconds / len(rows)
        )

    def done(self, stage: str) -> set[int]:
        return set(self.table["row"][self.table["stage"] == stage])

    def survivors(self, rows: list[int], upto: str = STAGES[-1]) -> list[int]:
        """Those of `rows` that nothing up to and including a stage has broken."""
        seen = ("clean", *STAGES)[: ("clean", *STAGES).index(upto) + 1]
        broken = set(
            self.table["row"][self.table["broken"].astype(bool) & self.table["stage"].isin(seen)]
        )
        return [row for row in rows if row not in broken]

    def seconds(self, stage: str) -> float:
        return self.table.loc[self.table["stage"] == stage, "seconds"].to_numpy(float).sum()


def search(
    side: Side,
    images: np.ndarray,
    labels: np.ndarray,
    rows: list[int],
    log: Log,
    name: str,
    together: int,
) -> None:
    """Run every stage on what is left of `rows` and is not in `log` yet, on `together` images at
    once.

    Args:
        images, labels: of the whole test set, float32 [N, 48, 48, 1] in [0, 1] and int [N].
    """
    for number, stage in enumerate(("clean", *STAGES)):
        before = log.survivors(rows, ("clean", *STAGES)[number - 1]) if number else rows
        todo = [row for row in before if row not in log.done(stage)]
        starts = range(0, len(todo), together)
        for start in tqdm(starts, desc=f"{name} {stage}", unit="batch", disable=None):
            batch = todo[start : start + together]
            began = time.perf_counter()
            found = (
                images[batch]
                if stage == "clean"
                else side.attacks[stage](images[batch], labels[batch], batch[0])
            )
            seconds = time.perf_counter() - began
            wrong = side.logits(found).argmax(axis=1) != labels[batch]
            log.add(stage, batch, np.array(batch)[wrong].tolist(), seconds)


def accuracies(ours: Log, theirs: Log, n: int) -> pd.DataFrame:
    """What each stage leaves right: stage, n, and a column for each side."""
    rows = sorted(ours.done("clean"))
    left = [
        [stage, n, *(len(log.survivors(rows, stage)) / n for log in (ours, theirs))]
        for stage in ("clean", *STAGES)
    ]
    return pd.DataFrame(left, columns=["stage", "n", *SIDES])


def write(args: argparse.Namespace, table: pd.DataFrame) -> None:
    """OUT/accuracy.csv, with what was attacked."""
    about = {
        "norm": args.norm,
        "eps": args.eps,
        "model": model_path(args).stem,
        "sha256": files.digest(model_path(args)),
    }
    with files.replacing(args.out / "accuracy.csv") as temporary:
        table.assign(**about).to_csv(temporary, index=False, float_format="%.6g")


def compare(table: pd.DataFrame, ours: Log, theirs: Log) -> str:
    """`accuracies`, to be read, with the times."""
    rows = sorted(ours.done("clean"))
    lines = [
        f"{'accuracy after':15}{SIDES[0]:>10}{SIDES[1]:>14}{'points apart':>14}{'seconds':>18}"
    ]
    for stage, _, *left in table.itertuples(index=False):
        times = f"{ours.seconds(stage):10.1f}{theirs.seconds(stage):8.1f}"
        lines.append(
            f"{stage:15}{left[0]:>10.2%}{left[1]:>14.2%}{100 * (left[0] - left[1]):>+14.2f}{times}"
        )
    apart = set(ours.survivors(rows)) ^ set(theirs.survivors(rows))
    return "\n".join([*lines, f"{len(apart)} of {table['n'].iloc[0]} images end differently"])


def compare_times(ours: Log, theirs: Log, n: int) -> str:
    """Seconds per image that survives, by stage and in all, as a table."""
    lines = [f"{f'{n} survivors, s':18}{SIDES[0]:>10}{SIDES[1]:>14}{'times as fast':>15}"]
    times = [[log.seconds(stage) / n for stage in STAGES] for log in (ours, theirs)]
    for stage, *each in zip((*STAGES, "all"), *([*side, sum(side)] for side in times), strict=True):
        lines.append(f"{stage:18}{each[0]:>10.2f}{each[1]:>14.2f}{each[1] / each[0]:>15.2f}")
    return "\n".join(lines)


def run(args: argparse.Namespace, side: str, name: str, rows: list[int]) -> Log:
    """One side's worker on `rows`, in a process of its own; what it has in its log in the end."""
    args.out.mkdir(parents=True, exist_ok=True)
    with files.replacing(args.out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(rows))
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", side, "--rows", name]
    if code := subprocess.run(command).returncode:
        raise SystemExit(code)
    return open_log(args, side, name)


def open_log(args: argparse.Namespace, side: str, name: str) -> Log:
    settings: dict[str, Any] = {
        key: getattr(args, key) for key in ("norm", "eps", "n", "queries", "seed", "device")
    }
    settings["model"] = files.digest(model_path(args))
    return Log(args.out / f"{side}-{name}", settings)


def work(args: argparse.Namespace) -> None:
    if args.device == "cuda":  # both libraries share it
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    log, rows = (
        open_log(args, args.worker, args.rows),
        json.loads((args.out / f"{args.rows}.json").read_text()),
    )
    test = load(args)
    images, labels = test.images[..., None] / np.float32(255), test.labels
    make = {"fer_jax": ours, "pyautoattack": theirs}[args.worker]
    together = min(TOGETHER[args.device], len(rows))
    search(make(args, images[rows[:8]], together), images, labels, rows, log, args.worker, together)


def ours(args: argparse.Namespace, examples: np.ndarray, together: int) -> Side:
    import jax
    import jax.numpy as jnp

    from fer_jax.attacks import NORMS, auto
    from fer_jax.predict import Predictor

    if (jax.default_backend() == "cpu") != (args.device == "cpu"):
        raise InputError(
            f"--device must be where jax computes, on the {jax.default_backend()}, received {args.device}"
        )
    logits_fn, key = Predictor(model_path(args)).logits_fn, jax.random.key(args.seed)
    filled = lambda array: jnp.asarray(array[np.arange(together) % len(array)])

    def attack(stage: Callable, images: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
        return np.asarray(
            stage(jax.random.fold_in(key, number), logits_fn, filled(images), filled(labels))
        )[: len(images)]

    stages = auto.stages(args.eps, NORMS[args.norm], queries=args.queries)
    return Side(
        lambda images: np.asarray(logits_fn(filled(images)))[: len(images)],
        {name: lambda *given, stage=stage: attack(stage, *given) for name, stage in stages.items()},
    )


def theirs(args: argparse.Namespace, examples: np.ndarray, together: int) -> Side:
    import torch_oracle

    from fer_jax.predict import Predictor

    predictor = Predictor(model_path(args))
    network = torch_oracle.network(predictor.model, args.device)
    apart = np.abs(
        torch_oracle.logits(network, examples) - np.asarray(predictor.logits_fn(examples))
    ).max()
    if apart > (most := ALIKE[args.device]):
        raise InputError(
            f"{model_path(args)}: the torch copy's logits must be ours to {most:g}, they are {apart:.1e} apart"
        )
    options = {
        "queries": args.queries,
        "classes": len(predictor.emotions),
        "seed": args.seed,
        "device": args.device,
    }
    stages = torch_oracle.stages(network, args.eps, args.norm, **options)
    return Side(
        lambda images: torch_oracle.logits(network, images),
        {
            name: lambda images, labels, number, stage=stage: stage(images, labels)
            for name, stage in stages.items()
        },
    )


def load(args: argparse.Namespace) -> "Split":
    """The test images that the model's protocol reports on."""
    from fer_jax import data
    from fer_jax.models import model_file

    return data.reported_by(
        model_file.load(model_path(args)).metadata, data.load(args.data), args.data
    )[0]


def sample(args: argparse.Namespace) -> list[int]:
    from fer_jax import data

    return data.sample(load(args), args.n).tolist()


def model_path(args: argparse.Namespace) -> Path:
    from fer_jax.predict import default_model_path

    return args.model or default_model_path()


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument("--n", type=int, default=500, help="how many test images (default: 500)")
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf", help="default: linf")
    parser.add_argument(
        "--eps",
        type=cli.parse_eps,
        default=0.5 / 255,
        help="of pixels in [0, 1]; fractions too (default: 0.5/255)",
    )
    parser.add_argument(
        "--queries",
        type=int,
        default=5000,
        help="of Square, which takes most of the time (default: 5000)",
    )
    parser.add_argument(
        "--timed", type=int, default=32, metavar="N", help="survivors to be timed (default: 32)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device",
        choices=TOGETHER,
        default="cpu",
        help="of torch, where jax must be, too (default: cpu)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: runs/autoattack_oracle/NORM-EPS"
    )
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out or Path("runs") / "autoattack_oracle" / f"{args.norm}-{args.eps:.4g}"
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
