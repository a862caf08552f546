"""How often a face that the network is sure to be Happy can be made Sad, after rounding to 8 bits,
and how much it changes.

python benchmarks/hack_rate.py --data data --images 500
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
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.predict import Predictor

SURE = 0.9  # the probability of the source class above which an image counts
LEVELS = (1, 2, 4, 8)  # eps, of 255
METHODS = ("pgd", "apgd")
TOGETHER = 64
OUT = Path(__file__).resolve().parents[1] / "results" / "hack_cnn"
EPILOG = """The images are a fixed random sample of the test images that the model's protocol reports on, that are labelled
with the source, and to which the network gives it more than 90 %. Writes success.csv and success.json, and no image.
"""


def main() -> None:
    args = parse_arguments()
    runtime.configure()
    from fer_jax.predict import Predictor, default_model_path

    path = args.model or default_model_path()
    predictor = Predictor(path)
    emotions = predictor.emotions
    for name in (args.source, args.target):
        if name not in emotions:
            raise InputError(
                f"unknown emotion {name!r}: the network tells {', '.join(emotions)} apart"
            )
    source, target = emotions.index(args.source), emotions.index(args.target)
    images, digest = sure_images(predictor, source, args)
    rows = []
    for method in METHODS:
        for level in LEVELS:
            reached, ssim = run(predictor, images, target, method, level / 255, args)
            low, high = metrics.wilson(int(reached.sum()), len(reached))
            row = {
                "method": method,
                "eps": f"{level}/255",
                "images": len(reached),
                "successes": int(reached.sum()),
            }
            rows.append(
                {
                    **row,
                    "rate": float(reached.mean()),
                    "low": low,
                    "high": high,
                    "mean_ssim": float(ssim.mean()),
                }
            )
            print(describe(rows[-1]), flush=True)
    settings = {
        **{name: getattr(args, name) for name in ("source", "target", "steps", "seed")},
        "sure": SURE,
        "norm": "linf",
        "model": files.digest(Path(path)),
        "data": digest,
    }
    write(args.out, settings, rows)


def sure_images(
    predictor: "Predictor", source: int, args: argparse.Namespace
) -> tuple[np.ndarray, str]:
    """Images uint8 [N, 48, 48], N at most --images, and the digest of the data that they are from."""
    from fer_jax import data

    fer = data.load(args.data)
    test, _ = data.reported_by(predictor.model.metadata, fer, args.data)
    images = test.images[test.labels == source]
    images = images[predictor(images, progress=True)[:, source] > SURE]
    if not len(images):
        raise InputError(
            f"{args.data}: the network must be sure of a test image labelled {args.source}, it is of none"
        )
    rows = np.random.default_rng(0).permutation(len(images))[: args.images]
    return images[np.sort(rows)], fer.digest


def run(
    predictor: "Predictor",
    images: np.ndarray,
    target: int,
    method: str,
    eps: float,
    args: argparse.Namespace,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each rounded image is seen as the target, bool [N], and its SSIM to the original,
    [N].
    """
    import jax

    from fer_jax.attacks import linf
    from fer_jax.evaluation.attacked import attacked
    from fer_jax.robustness import hack

    attack = hack.make_attack(hack.Settings(method, "linf", args.steps), eps)
    found = []
    for start in tqdm(
        range(0, len(images), TOGETHER),
        f"eps {255 * eps:g}/255",
        unit="batch",
        leave=False,
        disable=None,
    ):
        chunk = images[start : start + TOGETHER]
        key = jax.random.fold_in(jax.random.key(args.seed), start)
        options = {"key": key, "norm": linf, "eps": eps, "targeted": True, "batch_size": TOGETHER}
        found.append(
            attacked(attack, predictor.logits_fn, chunk, np.full(len(chunk), target), **options)
        )
    return np.concatenate([one.reached_8bit for one in found]), np.concatenate(
        [one.ssim for one in found]
    )


def describe(row: dict) -> str:
    share = f"{row['successes']:,} of {row['images']:,}, {row['rate']:.1%} (95% interval {row['low']:.1%} to {row['high']:.1%})"
    return f"{row['method']:5} linf {row['eps']:6} {share}, mean SSIM {row['mean_ssim']:.4f}"


def write(folder: Path, settings: dict, rows: list[dict]) -> None:
    with files.replacing(folder / "success.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
    with files.replacing(folder / "success.json") as temporary:
        temporary.write_text(json.dumps({**settings, "results": rows}, indent=2) + "\n")
    print(f"wrote {folder}/success.csv, success.json")


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--images", type=int, default=500, metavar="N", help="at most so many (default: 500)"
    )
    parser.add_argument("--source", default="happy", metavar="EMOTION", help="default: happy")
    parser.add_argument("--target", default="sad", metavar="EMOTION", help="default: sad")
    parser.add_argument("--steps", type=int, default=40, help="default: 40")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="FOLDER", help="default: results/hack_cnn"
    )
    args = parser.parse_args()
    if args.source == args.target:
        parser.error(f"--source and --target must differ, both are {args.source}")
    if min(args.images, args.steps) < 1:
        parser.error("--images and --steps must be at least 1")
    return args


if __name__ == "__main__":
    sys.exit(cli.run(main))
