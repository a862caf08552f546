"""Certified accuracy: how often the smoothed network is right and no change within a radius (L2)
can alter that.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from fer_jax import cli, files, runtime
from fer_jax.evaluation import metrics
from fer_jax.robustness.journal import Journal

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.types import LogitsFn

POINTS = (0.0, 0.25, 0.5, 0.75)  # radii that are printed
COLUMNS = ("row", "label", "prediction", "radius", "count", "broken")
EPILOG = """examples:
  python scripts/certify.py --model results/robust/smooth.pkl
  python scripts/certify.py --sigma 0.12 --n 1000 --images 100 --pgd 20

The images are a fixed random sample of the rows that the model's protocol reports on. An abstention counts as an error.
--pgd attacks each certified image within its radius: the certificate says that this cannot succeed. What was found is kept
in OUT/found.csv after every image: the same command goes on where it was stopped.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax import data
    from fer_jax.predict import Predictor, default_model_path
    from fer_jax.robustness import smoothing

    path = args.model or default_model_path()
    predictor = Predictor(path)
    sigma = smoothing.trained_sigma(predictor.model.metadata) if args.sigma is None else args.sigma
    smoothing.check(sigma, args.n0, args.n, args.alpha)
    fer = data.load(args.data)
    test, _ = data.reported_by(predictor.model.metadata, fer, args.data)
    rows = data.sample(test, args.images, "--images")
    settings = {
        "model": files.digest(Path(path)),
        "sigma": sigma,
        **{name: getattr(args, name) for name in ("n", "n0", "alpha", "images", "pgd")},
        "data": fer.digest,
    }
    out = args.out or Path("runs") / "certify" / f"{Path(path).stem}-{sigma:g}"
    found = Journal(out, settings, COLUMNS)
    for row in tqdm(rows.tolist(), desc="certifying", unit="image", disable=None):
        if row not in found.table["row"].to_numpy():
            image = test.images[row, :, :, None] / np.float32(255)
            values = (row, int(test.labels[row]), *judge(predictor.logits_fn, image, row, settings))
            found.add(**{name: [value] for name, value in zip(COLUMNS, values, strict=True)})
    write(out, settings, found.table, smoothing.largest_radius(sigma, args.n, args.alpha))


def judge(
    logits_fn: "LogitsFn", image: np.ndarray, row: int, settings: dict
) -> tuple[int, float, int, int]:
    """Prediction, radius and count of one image; and whether PGD broke the certificate, -1 where it
    was not tried.
    """
    import jax

    from fer_jax.robustness import smoothing

    options = {name: settings[name] for name in ("sigma", "n0", "n", "alpha")}
    key, noise_key, judge_key = jax.random.split(jax.random.fold_in(jax.random.key(0), row), 3)
    said = smoothing.certify(key, logits_fn, image, **options)
    if said.prediction == smoothing.ABSTAIN or not settings["pgd"]:
        return said.prediction, said.radius, said.count, -1
    attacked = smoothing.attack(
        noise_key, logits_fn, image, said, sigma=options["sigma"], steps=settings["pgd"]
    )
    broken = smoothing.broken(judge_key, logits_fn, attacked, said, **options)
    return said.prediction, said.radius, said.count, int(broken)


def tabulate(found: pd.DataFrame, radii: np.ndarray) -> pd.DataFrame:
    """One row per radius: how many images are predicted right and certified that far, with a 95 %
    interval.
    """
    reach = np.where(found["prediction"] == found["label"], found["radius"], -1.0)
    counts = (reach >= np.asarray(radii)[:, None]).sum(axis=1)
    table = pd.DataFrame(
        {"radius": radii, "certified": counts, "n": len(found), "accuracy": counts / len(found)}
    )
    intervals = [metrics.wilson(int(count), len(found)) for count in counts]
    return table.assign(low=[low for low, _ in intervals], high=[high for _, high in intervals])


def write(out: Path, settings: dict, found: pd.DataFrame, largest: float) -> None:
    from fer_jax import plots

    curve = tabulate(found, np.arange(round(100 * max(largest, POINTS[-1])) + 2) / 100)
    points = tabulate(found, np.array(POINTS))
    broken, abstained = found["broken"].to_numpy(), (found["prediction"].to_numpy() < 0).sum()
    counts = {
        "abstained": int(abstained),
        "attacked": int((broken >= 0).sum()),
        "broken": int((broken > 0).sum()),
    }
    with files.replacing(out / "certified.csv") as temporary:
        curve.to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(out / "certified.json") as temporary:
        told = {
            **settings,
            "largest_radius": largest,
            **counts,
            "results": points.to_dict("records"),
        }
        temporary.write_text(json.dumps(told, indent=2) + "\n")
    title = f"{len(found):,} test images, sigma {settings['sigma']:g}, n {settings['n']:,}, alpha {settings['alpha']:g}"
    with files.replacing(out / "certified.png") as temporary:
        plots.certified_accuracy(curve, largest, title).savefig(temporary)
    for _, row in points.iterrows():
        interval = f"95% interval {row.low:.2%} to {row.high:.2%}"
        print(f"certified accuracy at L2 {row.radius:<5g}{row.accuracy:7.2%}  {interval}")
    print(
        f"abstained on {counts['abstained']} of {len(found)} images; no radius above {largest:.3f} can be certified"
    )
    if settings["pgd"]:
        print(
            f"PGD within the certified radius broke {counts['broken']} of {counts['attacked']} certificates"
        )
    print(f"wrote {out}/certified.csv, certified.json, certified.png")


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    sigma = "noise, in pixel units of [0, 1] (default: what the model was trained with, else 0.25)"
    parser.add_argument("--sigma", type=float, help=sigma)
    parser.add_argument(
        "--n",
        type=int,
        default=10_000,
        help="noisy copies that bound the probability (default: 10000)",
    )
    parser.add_argument(
        "--n0", type=int, default=100, help="noisy copies that select the class (default: 100)"
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.001,
        help="probability of a wrong certificate (default: 0.001)",
    )
    parser.add_argument(
        "--images", type=int, default=500, help="how many test images (default: 500)"
    )
    parser.add_argument(
        "--pgd",
        type=int,
        default=0,
        metavar="STEPS",
        help="attack each certificate (default: 0, not)",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: runs/certify/MODEL-SIGMA"
    )
    args = parser.parse_args()
    if args.pgd < 0:
        parser.error(f"--pgd must be at least 0, received {args.pgd}")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
