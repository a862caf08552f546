"""Accuracy under what cameras do to faces: noise, blur, light, occlusion and more, in five
severities.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, runtime
from fer_jax.evaluation import metrics

EPILOG = """examples:
  python scripts/corruption_bench.py
  python scripts/corruption_bench.py --model results/model/my_own_model.pkl results/robust/robust_model.pkl --n 500

The n test images are a fixed random sample of the rows that each model's protocol reports on: models of one protocol see
the same images, corrupted alike. Severity 0 is the clean picture; the mean corruption accuracy is the plain mean over
corruptions and severities 1 to 5. It writes OUT/corruptions.csv, corruptions.json and corruptions.png.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data
    from fer_jax.predict import Predictor, default_model_path
    from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES

    paths = list(dict.fromkeys(args.model or [default_model_path()]))
    predictors = dict(zip(names(paths), map(Predictor, paths), strict=True))
    fer = data.load(args.data)
    tables = []
    total = len(predictors) * (1 + len(CORRUPTIONS) * len(SEVERITIES))
    with tqdm(total=total, desc="corruptions", unit="setting", disable=None) as progress:
        for name, predictor in predictors.items():
            test, _ = data.reported_by(predictor.model.metadata, fer, args.data)
            rows = data.sample(test, args.n)
            images, labels = test.images[rows], test.labels[rows]
            for kind, severity, worse in corrupted(images, args.seed):
                right = int((predictor.logits(worse)[0].argmax(axis=1) == labels).sum())
                tables.append(
                    {
                        "model": name,
                        "corruption": kind,
                        "severity": severity,
                        "correct": right,
                        "n": args.n,
                    }
                )
                progress.update()
    write(args, pd.DataFrame(tables), dict(zip(predictors, paths, strict=True)), fer.digest)


def names(paths: list[Path]) -> list[str]:
    """The files' stems, or where two are alike the paths."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def corrupted(images: np.ndarray, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """(corruption, severity, images) of every setting, the clean one first."""
    from fer_jax.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt

    yield "clean", 0, images
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            yield name, severity, corrupt(name, images, severity, seed)


def write(
    args: argparse.Namespace, table: pd.DataFrame, paths: dict[str, Path], digest: str
) -> None:
    from fer_jax import plots

    intervals = [
        metrics.wilson(right, n) for right, n in zip(table["correct"], table["n"], strict=True)
    ]
    table = table.assign(accuracy=table["correct"] / table["n"])
    table[["low", "high"]] = intervals
    models = {
        name: {"model": files.digest(path), **summary(table.loc[table["model"] == name])}
        for name, path in paths.items()
    }
    with files.replacing(args.out / "corruptions.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(args.out / "corruptions.json") as temporary:
        told = {"n": args.n, "seed": args.seed, "data": digest, "models": models}
        temporary.write_text(json.dumps(told, indent=2) + "\n")
    with files.replacing(args.out / "corruptions.png") as temporary:
        plots.corruption_accuracy(table, f"{args.n:,} test images").savefig(temporary)
    for name, figures in models.items():
        print(
            f"{name}: clean {figures['clean']:.2%}, mean corruption accuracy {figures['mean_corruption_accuracy']:.2%}"
        )
        for kind, accuracies in figures["by_severity"].items():
            print(f"  {kind:16}" + "".join(f"{accuracy:8.1%}" for accuracy in accuracies))
    print(f"wrote {args.out}/corruptions.csv, corruptions.json, corruptions.png")


def summary(table: pd.DataFrame) -> dict:
    """One model's accuracy on clean pictures, its mean under corruption, and each corruption's by
    severity.
    """
    clean, worse = table.loc[table["severity"] == 0], table.loc[table["severity"] > 0]
    by_severity = {
        kind: list(rows["accuracy"]) for kind, rows in worse.groupby("corruption", sort=False)
    }
    (accuracy,), mean = clean["accuracy"].tolist(), worse["accuracy"].to_numpy().mean()
    return {"clean": accuracy, "mean_corruption_accuracy": float(mean), "by_severity": by_severity}


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="model files (default: the shipped model)",
    )
    parser.add_argument("--n", type=int, default=1000, help="how many test images (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default: 0)")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    out = Path("runs") / "corruption_bench"
    parser.add_argument("--out", type=Path, default=out, metavar="FOLDER", help=f"default: {out}")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed must be at least 0, received {args.seed}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
