"""Robust accuracy: how often the network is still right when an attack may change each image by at
most eps.
"""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, runtime
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.robustness.journal import Journal

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Split
    from fer_jax.types import Attack, LogitsFn

ATTACKS = ("noise", "fgsm", "pgd", "apgd", "square", "autoattack")
CHECKED = 128  # images of the masking check
EPILOG = """examples:
  python scripts/attack_bench.py --attack pgd --eps 2/255 4/255 8/255 --n 1000
  python scripts/attack_bench.py --attack autoattack --norm l2 --eps 0.5 --model results/model/my_own_model.pkl
  python scripts/attack_bench.py --attack apgd --surrogate another_model.pkl --check-masking

The n test images are a fixed random sample of the rows that the model's protocol reports on. What was found is kept in
OUT/found.csv: the same command goes on where it was stopped. An image broken at one eps counts as broken at every larger
one. fgsm is an Linf attack.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data
    from fer_jax.predict import Predictor, default_model_path

    fer = data.load(args.data)
    path = args.model or default_model_path()
    predictor = Predictor(path)
    surrogate = Predictor(args.surrogate) if args.surrogate else None
    if surrogate and surrogate.emotions != predictor.emotions:
        raise InputError(
            f"{args.surrogate}: the surrogate must know the model's classes, received {surrogate.emotions}"
        )
    test, _ = data.reported_by(predictor.model.metadata, fer, args.data)
    rows = data.sample(test, args.n)
    settings = {
        "model": files.digest(Path(path)),
        **{
            name: getattr(args, name)
            for name in ("attack", "norm", "n", "steps", "restarts", "queries", "seed")
        },
        **({"surrogate": files.digest(args.surrogate)} if args.surrogate else {}),
        "data": fer.digest,
    }
    found = Journal(args.out, settings, ("eps", "row", "broken"))
    passes = search(args, predictor.logits_fn, surrogate and surrogate.logits_fn, test, rows, found)
    write(args, settings, tabulate(found.table, list(make_stages(args, 1.0)), args.eps))
    for stage, (images, forward, backward) in passes.items():
        print(
            f"{stage}: {forward / images:,.1f} forward and {backward / images:,.1f} backward passes per attacked image"
        )
    if args.check_masking:
        check_masking(args, predictor.logits_fn, surrogate and surrogate.logits_fn, test, rows)


def search(
    args: argparse.Namespace,
    logits_fn: "LogitsFn",
    surrogate_fn: "LogitsFn | None",
    test: "Split",
    rows: np.ndarray,
    found: Journal,
) -> dict[str, np.ndarray]:
    """Attack what `found` does not know yet; with --count-passes, by stage: images attacked,
    forward and backward passes.
    """
    import jax

    from fer_jax.attacks import NORMS, Counted, transferred
    from fer_jax.evaluation.attacked import broken_by
    from fer_jax.robustness import scorecard

    passes = {}
    chunks = [
        (eps, chunk)
        for eps in args.eps
        for chunk in np.array_split(rows, -(-len(rows) // scorecard.kept()))
    ]
    for eps, chunk in tqdm(chunks, desc=args.attack, unit="batch", disable=None):
        known = found.table["row"][np.isclose(found.table["eps"].astype(float), eps, rtol=1e-9)]
        if not len(chunk := chunk[~np.isin(chunk, known)]):
            continue
        made = {
            name: Counted(attack) if args.count_passes else attack
            for name, attack in make_stages(args, eps).items()
        }
        broken = broken_by(
            {name: transferred(attack, surrogate_fn) for name, attack in made.items()}
            if surrogate_fn
            else made,
            logits_fn,
            test.images[chunk],
            test.labels[chunk],
            key=jax.random.fold_in(jax.random.key(args.seed), int(chunk[0])),
            norm=NORMS[args.norm],
            eps=eps,
            batch_size=scorecard.at_once(),
        )
        found.add(eps=eps, row=chunk, broken=broken)
        for name, attack in made.items():
            if isinstance(attack, Counted) and attack.images:
                new = np.array([attack.images, attack.forward, attack.backward])
                passes[name] = passes.get(name, 0) + new
    return passes


def check_masking(
    args: argparse.Namespace,
    logits_fn: "LogitsFn",
    surrogate_fn: "LogitsFn | None",
    test: "Split",
    rows: np.ndarray,
) -> None:
    """Print what is suspicious at the smallest eps, or below it: where nothing is left there is
    nothing to compare.
    """
    import jax

    from fer_jax.attacks import NORMS
    from fer_jax.robustness import masking, scorecard

    few = np.random.default_rng(1).permutation(rows)[:CHECKED]
    images, labels = test.images[few], test.labels[few]
    options = {
        "key": jax.random.key(args.seed),
        "norm": NORMS[args.norm],
        "batch_size": scorecard.at_once(),
    }
    eps = masking.telling_eps(logits_fn, images, labels, largest=min(args.eps), **options)
    found = masking.measure(logits_fn, images, labels, eps=eps, surrogate=surrogate_fn, **options)
    print(f"masked gradients, looked for at eps {found.eps:.3g} in {found.n} images:")
    print(*(masking.suspicions(found) or ["nothing suspicious"]), sep="\n")


def make_stages(args: argparse.Namespace, eps: float) -> dict[str, "Attack"]:
    from fer_jax import attacks
    from fer_jax.attacks import auto

    norm = attacks.NORMS[args.norm]
    step_size = 2.5 * eps / args.steps
    if args.attack == "autoattack":
        return auto.stages(eps, norm, args.steps, args.queries)
    build = {
        "noise": functools.partial(attacks.uniform, eps=eps, norm=norm),
        "fgsm": functools.partial(attacks.fgsm, eps=eps),
        "pgd": functools.partial(
            attacks.pgd,
            eps=eps,
            step_size=step_size,
            steps=args.steps,
            norm=norm,
            restarts=args.restarts,
        ),
        "apgd": functools.partial(
            attacks.apgd, eps=eps, steps=args.steps, norm=norm, restarts=args.restarts
        ),
        "square": functools.partial(attacks.square, eps=eps, norm=norm, queries=args.queries),
    }
    return {args.attack: build[args.attack]}


def tabulate(found: pd.DataFrame, stages: list[str], levels: list[float]) -> pd.DataFrame:
    """One row per eps and stage: the accuracy that it leaves, with a 95 % interval; stage "clean"
    is before all.

    What a stage breaks within one ball it breaks within every larger one, which holds the smaller.
    """
    rows, broken = [], len(stages)
    for eps in sorted(levels):
        level = found.loc[np.isclose(found["eps"], eps, rtol=1e-9)].sort_values("row")
        broken = np.minimum(broken, level["broken"].to_numpy())
        for number, stage in enumerate(["clean", *stages]):
            robust = int((broken >= number).sum())
            low, high = metrics.wilson(robust, len(broken))
            row = {
                "eps": eps,
                "stage": stage,
                "robust": robust,
                "n": len(broken),
                "accuracy": robust / len(broken),
            }
            rows.append({**row, "low": low, "high": high})
    return pd.DataFrame(rows)


def write(args: argparse.Namespace, settings: dict, table: pd.DataFrame) -> None:
    from fer_jax import plots

    with files.replacing(args.out / "robustness.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(args.out / "robustness.json") as temporary:
        told = {**settings, "results": table.to_dict("records")}
        temporary.write_text(json.dumps(told, indent=2) + "\n")
    with files.replacing(args.out / "robustness.png") as temporary:
        plots.robust_accuracy(table, f"{args.attack}, {args.norm}, {args.n:,} test images").savefig(
            temporary
        )
    for _, row in table.iterrows():
        size = f"{row.eps * 255:.3g}/255" if args.norm == "linf" else f"{row.eps:.3g}"
        print(
            f"{args.norm} {size:8} {row.stage:10} {row.accuracy:7.2%}  95% interval {row.low:.2%} to {row.high:.2%}"
        )
    print(f"wrote {args.out}/robustness.csv, robustness.json, robustness.png")


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("--attack", choices=ATTACKS, default="pgd", help="default: pgd")
    parser.add_argument("--norm", choices=("linf", "l2"), default="linf", help="default: linf")
    parser.add_argument(
        "--eps",
        type=cli.parse_eps,
        nargs="+",
        default=[2 / 255, 4 / 255, 8 / 255],
        metavar="EPS",
        help="largest change of pixels in [0, 1]; fractions such as 2/255 too (default: 2/255 4/255 8/255)",
    )
    parser.add_argument("--n", type=int, default=1000, help="how many test images (default: 1000)")
    parser.add_argument(
        "--steps", type=int, help="of gradient attacks (default: 50; autoattack 100)"
    )
    parser.add_argument(
        "--restarts", type=int, default=1, help="random starts of pgd and apgd (default: 1)"
    )
    parser.add_argument("--queries", type=int, default=5000, help="of square (default: 5000)")
    parser.add_argument(
        "--surrogate",
        type=Path,
        metavar="FILE",
        help="make the attack on this model, judge it on --model",
    )
    parser.add_argument(
        "--count-passes",
        action="store_true",
        help="print the passes of the network that an image takes",
    )
    parser.add_argument(
        "--check-masking", action="store_true", help="also look for signs of masked gradients"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: runs/attack_bench/ATTACK-NORM"
    )
    args = parser.parse_args()
    if args.steps is None:
        args.steps = 100 if args.attack == "autoattack" else 50
    by_transfer = "-transfer" if args.surrogate else ""
    args.out = args.out or Path("runs") / "attack_bench" / f"{args.attack}-{args.norm}{by_transfer}"
    if args.attack == "fgsm" and args.norm != "linf":
        parser.error(f"--attack fgsm is made for linf, not for {args.norm}")
    if args.norm == "linf" and max(args.eps) > 1:
        parser.error(
            f"--eps must be at most 1 for linf, pixels being in [0, 1], received {max(args.eps):g}"
        )
    if min(args.steps, args.restarts, args.queries) < 1:
        parser.error("--steps, --restarts and --queries must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
