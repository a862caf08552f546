"""AutoAttack, ours against pyautoattack's: how many images stay right, and how long it takes."""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files
from fer_jax.errors import InputError
from fer_jax.robustness.journal import Journal

SIDES = ("fer_jax", "pyautoattack")
STAGES = ("apgd-ce", "apgd-t", "fab-t", "square")
SEEN = ("clean", *STAGES)
SETTINGS = ("norm", "eps", "n", "queries", "seed", "device")
TOGETHER = {"cpu": 64, "cuda": 512}  # images that are attacked at once
# how far both sides' logits may be apart: GPUs round what convolutions multiply to TF32
ALIKE = {"cpu": 1e-4, "cuda": 3e-2}
EPILOG = """examples:
  pip install -e '.[oracles]'
  python benchmarks/autoattack_oracle.py --data data --norm linf --eps 0.5/255
  python benchmarks/autoattack_oracle.py --data data --norm l2 --eps 0.1 --n 100 --timed 0

Both attack the random sample of scripts/attack_bench.py, with the same weights and all other
classes as targets. Each side runs in a process of its own with all cores, judges by its own copy of
the network, and keeps what it found in OUT after every batch: the same command goes on where it was
stopped; OUT/accuracy.csv has the accuracies. Then both attack, once more, --timed of the images
that survived both, on which every attack takes its full time (compiling included).
"""
Attack = Callable[..., np.ndarray]  # images, labels, number of the batch -> images


class Side(NamedTuple):
    """One of the two: logits of images, and the attacks by stage."""

    logits: Callable[[np.ndarray], np.ndarray]
    attacks: dict[str, Attack]


class Log(Journal):
    """What one side found so far: which stage broke a row's image, and its share of the seconds."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        super().__init__(folder, settings, ("stage", "row", "broken", "seconds"))

    def survivors(self, rows: Iterable[int], upto: str = STAGES[-1]) -> list[int]:
        """Return those of `rows` that nothing up to and including a stage has broken."""
        before = self.table["stage"].isin(SEEN[: SEEN.index(upto) + 1])
        broken = set(self.table["row"][before & self.table["broken"].astype(bool)])
        return [row for row in rows if row not in broken]

    def of(self, stage: str) -> pd.DataFrame:
        return self.table.loc[self.table["stage"] == stage]

    def seconds(self, stage: str) -> float:
        return self.of(stage)["seconds"].to_numpy(float).sum()


def main() -> None:
    args = parse_arguments()
    if args.worker:
        work(args)
        return
    missing = [name for name in ("torch", "pyautoattack") if not importlib.util.find_spec(name)]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be installed: pip install -e '.[oracles]'")
    from fer_jax import data

    rows = data.sample(load(args), args.n).tolist()
    ours, theirs = [run(args, side, "all", rows) for side in SIDES]
    table = accuracies(ours, theirs, args.n)
    model = {"model": args.model.stem, "sha256": files.digest(args.model)}
    about = {"norm": args.norm, "eps": args.eps, **model}
    with files.replacing(args.out / "accuracy.csv") as temporary:
        table.assign(**about).to_csv(temporary, index=False, float_format="%.6g")
    print(compare(table, ours, theirs))
    survivors = theirs.survivors(ours.survivors(rows))[: args.timed]
    if survivors:
        again = [run(args, side, "survivors", survivors) for side in SIDES]
        print(compare_times(again[0], again[1], len(survivors)))


def run(args: argparse.Namespace, side: str, name: str, rows: list[int]) -> Log:
    """Run one side's worker on `rows`, in a process of its own; return its log."""
    files.write_json(args.out / f"{name}.json", {"rows": rows})
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", side, "--rows", name]
    # torch is timed as its users have it
    tuning = {} if side == "fer_jax" else {"FER_JAX_TUNE": "0"}
    code = subprocess.run(command, env=os.environ | tuning).returncode
    if code:
        raise SystemExit(code)
    return open_log(args, side, name)


def open_log(args: argparse.Namespace, side: str, name: str) -> Log:
    settings = {key: getattr(args, key) for key in SETTINGS} | {"model": files.digest(args.model)}
    return Log(args.out / f"{side}-{name}", settings)


def work(args: argparse.Namespace) -> None:
    if args.device == "cuda":  # both libraries share it
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    log = open_log(args, args.worker, args.rows)
    rows = files.read_json(args.out / f"{args.rows}.json")["rows"]
    test = load(args)
    together = min(TOGETHER[args.device], len(rows))
    side = (ours if args.worker == SIDES[0] else theirs)(args, test.images[rows[:8]], together)
    search(side, test, rows, log, args.worker, together)


def search(side: Side, test, rows: list[int], log: Log, name: str, together: int) -> None:
    """Run every stage on what is left of `rows` and not in `log` yet, `together` images at once."""
    before = rows
    for stage in SEEN:
        done = set(log.of(stage)["row"])
        todo = [row for row in before if row not in done]
        starts = range(0, len(todo), together)
        for start in tqdm(starts, desc=f"{name} {stage}", unit="batch", disable=None):
            batch = todo[start : start + together]
            found, labels = test.images[batch, :, :, None] / np.float32(255), test.labels[batch]
            began = time.perf_counter()
            if stage != "clean":
                found = side.attacks[stage](found, labels, batch[0])
            each = (time.perf_counter() - began) / len(batch)
            broken = side.logits(found).argmax(axis=1) != labels
            log.add(stage=stage, row=batch, broken=broken, seconds=each)
        before = log.survivors(rows, stage)


def ours(args: argparse.Namespace, examples: np.ndarray, together: int) -> Side:
    import jax
    import jax.numpy as jnp

    from fer_jax.attacks import NORMS, auto
    from fer_jax.predict import Predictor

    backend = jax.default_backend()
    if (backend == "cpu") != (args.device == "cpu"):
        rule = f"must be where jax computes, on the {backend}"
        raise InputError(f"--device {rule}, received {args.device}")
    logits_fn = Predictor(args.model).logits_fn
    key = jax.random.key(args.seed)
    filled = lambda array: jnp.asarray(array[np.arange(together) % len(array)])

    def attack(stage: Callable, images: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
        given = jax.random.fold_in(key, number), logits_fn, filled(images), filled(labels)
        return np.asarray(stage(*given))[: len(images)]

    stages = auto.stages(args.eps, NORMS[args.norm], queries=args.queries)
    logits = lambda images: np.asarray(logits_fn(filled(images)))[: len(images)]
    return Side(logits, {name: partial(attack, stage) for name, stage in stages.items()})


def theirs(args: argparse.Namespace, examples: np.ndarray, together: int) -> Side:
    import torch_oracle

    from fer_jax.predict import Predictor

    predictor = Predictor(args.model)
    network = torch_oracle.network(predictor.model, args.device)
    logits = lambda images: torch_oracle.logits(network, images)
    examples = examples[..., None] / np.float32(255)
    apart = np.abs(logits(examples) - np.asarray(predictor.logits_fn(examples))).max()
    most = ALIKE[args.device]
    if apart > most:
        rule = f"the torch copy's logits must be ours to {most:g}"
        raise InputError(f"{args.model}: {rule}, they are {apart:.1e} apart")
    options = {"queries": args.queries, "classes": len(predictor.emotions)}
    options |= {"seed": args.seed, "device": args.device}
    return Side(logits, torch_oracle.stages(network, args.eps, args.norm, **options))


def load(args: argparse.Namespace):
    """Return the test images that the model's protocol reports on."""
    from fer_jax import data
    from fer_jax.models import model_file

    model = model_file.load(args.model)
    return data.reported_by(model.metadata, model.labels, data.load(args.data), args.data)[0]


def accuracies(ours: Log, theirs: Log, n: int) -> pd.DataFrame:
    """Return what each stage leaves right: stage, n, and a column for each side."""
    rows = ours.of("clean")["row"]
    left = lambda log: [len(log.survivors(rows, stage)) / n for stage in SEEN]
    return pd.DataFrame({"stage": SEEN, "n": n, SIDES[0]: left(ours), SIDES[1]: left(theirs)})


def compare(table: pd.DataFrame, ours: Log, theirs: Log) -> str:
    """Return `accuracies`, to be read, with the times."""
    names = f"{SIDES[0]:>10}{SIDES[1]:>14}"
    lines = [f"{'accuracy after':15}{names}{'points apart':>14}{'seconds':>18}"]
    for stage, _, one, other in table.itertuples(index=False):
        accuracy = f"{one:>10.2%}{other:>14.2%}{100 * (one - other):>+14.2f}"
        times = f"{ours.seconds(stage):10.1f}{theirs.seconds(stage):8.1f}"
        lines.append(f"{stage:15}{accuracy}{times}")
    rows = ours.of("clean")["row"]
    apart = set(ours.survivors(rows)) ^ set(theirs.survivors(rows))
    return "\n".join([*lines, f"{len(apart)} of {table['n'].iloc[0]} images end differently"])


def compare_times(ours: Log, theirs: Log, n: int) -> str:
    """Return seconds per image that survives, by stage and in all, as a table."""
    lines = [f"{f'{n} survivors, s':18}{SIDES[0]:>10}{SIDES[1]:>14}{'times as fast':>15}"]
    times = [(name, ours.seconds(name) / n, theirs.seconds(name) / n) for name in STAGES]
    times.append(("all", sum(one for _, one, _ in times), sum(other for *_, other in times)))
    for stage, one, other in times:
        lines.append(f"{stage:18}{one:>10.2f}{other:>14.2f}{other / one:>15.2f}")
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = cli.parser(__doc__, EPILOG)
    option = parser.add_argument
    root = files.root()
    cli.add_model(parser)
    parser.set_defaults(model=root / "results" / "model" / "my_own_model.pkl")
    cli.add_data(parser)
    option("--n", type=int, default=500, help="how many test images (default: 500)")
    option("--norm", choices=("linf", "l2"), default="linf", help="default: linf")
    option("--eps", type=cli.parse_eps, default=0.5 / 255, help="fractions, too (default: 0.5/255)")
    option("--queries", type=int, default=5000, help="of Square, the slowest (default: 5000)")
    option("--timed", type=int, default=32, metavar="N", help="survivors to time (default: 32)")
    option("--seed", type=int, default=0)
    option("--device", choices=TOGETHER, default="cpu", help="of torch, and of jax (default: cpu)")
    option("--out", type=Path, metavar="FOLDER", help="default: runs/autoattack_oracle/NORM-EPS")
    option("--worker", choices=SIDES, help=argparse.SUPPRESS)
    option("--rows", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out or root / "runs" / "autoattack_oracle" / f"{args.norm}-{args.eps:.4g}"
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
