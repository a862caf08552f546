"""Measure a trained model on the FER-2013 test set, or classify pictures with it."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer_jax import cli, files, runtime
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Fer2013
    from fer_jax.predict import Predictor

EPILOG = """examples:
  python scripts/predict.py --data data
  python scripts/predict.py --tta --json metrics.json --confusion confusion_matrix.png --reliability reliability.png
  python scripts/predict.py --images holiday.jpg portraits/

The test set is all 7,178 rows: PublicTest, then PrivateTest. --tta averages ten views of each face, at ten times the
cost.
With --images, a 48x48 grey picture is taken as a face; in any other picture faces are detected first, one row each.
"""
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def main() -> int:
    args = parse_arguments()
    if args.images and (args.json or args.confusion or args.reliability):
        raise InputError("--json, --confusion and --reliability describe the test set: they do not go with --images")
    runtime.configure()
    from fer_jax.predict import Predictor

    if args.images:
        return classify(Predictor(args.model, args.tta), args.images)
    from fer_jax import data

    test_set = data.load(args.data)  # before the model: what is missing is said at once
    results, before, after = measure(Predictor(args.model, args.tta), test_set)
    if args.json:
        with files.replacing(args.json) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n")
    if args.confusion:
        from fer_jax import plots

        with files.replacing(args.confusion) as temporary:
            plots.confusion_matrix(np.array(results["confusion_matrix"]), EMOTIONS).savefig(temporary)
    if args.reliability:
        from fer_jax import plots

        with files.replacing(args.reliability) as temporary:
            plots.reliability_diagram(test_set.test.labels, before, after).savefig(temporary)
    return 0


def measure(predictor: "Predictor", fer: "Fer2013") -> tuple[dict, np.ndarray, np.ndarray]:
    """Predict the test set, print the figures; returns them and the probabilities before and after scaling."""
    from fer_jax import data, evaluate

    metadata = predictor.model.metadata
    if metadata.get("protocol") == "kaggle":
        print("note: PublicTest chose this model (protocol kaggle): only PrivateTest reports on it", file=sys.stderr)
    test = fer.test
    logits = predictor.logits(test.images, progress=True)
    before, after = predictor.probabilities(logits, 1.0), predictor.probabilities(logits, predictor.model.temperature)
    public = np.arange(len(test.labels)) < len(fer.public_test.labels)
    unseen = ~data.seen_in_training(test, fer.train)
    subsets = {
        "all": np.ones_like(public),
        "PublicTest": public,
        "PrivateTest": ~public,
        "all without rows whose pixels occur in training": unseen,
        "PublicTest without them": unseen & public,
        "PrivateTest without them": unseen & ~public,
    }
    results = evaluate.report(test.labels, after.argmax(axis=1), subsets)
    results["unscaled"], results["scaled"] = (evaluate.probability_report(test.labels, p) for p in (before, after))
    whole = results["accuracy"]["all"]
    print(f"Accuracy on test set: {100 * whole['correct'] // whole['rows']}%\n\n{evaluate.describe(results)}")
    print(f"\n{evaluate.describe_probabilities(results['unscaled'], results['scaled'])}")
    results |= {"test_time_augmentation": predictor.tta, "data": fer.digest, "model": metadata}
    return results | {"temperature": predictor.model.temperature}, before, after


def classify(predictor: "Predictor", paths: list[Path]) -> int:
    """Print one row per face; 2 if a picture could not be read, after all the others."""
    print(" ".join(f"{emotion:>8}" for emotion in EMOTIONS) + "  emotion   picture")
    errors = []
    for path in pictures(paths):
        try:
            crops = faces_of(path)
        except InputError as error:
            errors.append(error)
            continue
        if not crops:
            print(f"{'no face found':>{9 * len(EMOTIONS) - 1}}  {'-':9} {path}")
        for where, face in crops:
            probabilities = predictor(face[None])[0]
            columns = " ".join(f"{probability:8.3f}" for probability in probabilities)
            print(f"{columns}  {EMOTIONS[probabilities.argmax()]:9} {path}{where}")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 2 if errors else 0


def pictures(paths: list[Path]) -> list[Path]:
    """The files named, and those with a picture's suffix at any depth of the folders named, sorted."""
    found = []
    for path in paths:
        inside = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES]
        if path.is_dir() and not inside:
            raise InputError(f"{path}: the folder must hold pictures ({', '.join(sorted(SUFFIXES))}), it holds none")
        found += inside or [path]
    return found


def faces_of(path: Path) -> list[tuple[str, np.ndarray]]:
    """(where in the picture, uint8 [48, 48]) of each face; a 48x48 picture without colour is one."""
    from fer_jax import faces
    from fer_jax.types import IMAGE_SIZE

    image = faces.read_image(path)
    grey = image if image.ndim == 2 else image[..., 0]
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE) and (image.ndim == 2 or (image == grey[..., None]).all()):
        return [("", grey)]
    return [(f" (face at x={box.x} y={box.y}, {box.w}x{box.h})", face) for box, face in faces.faces_in(image)]


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file (default: the shipped model)")
    parser.add_argument("--tta", action="store_true", help="test-time augmentation: mean over ten views of each face")
    parser.add_argument("--images", type=Path, nargs="+", metavar="PATH", help="classify these pictures or folders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--confusion", type=Path, metavar="FILE.png", help="draw the confusion matrix there")
    parser.add_argument("--reliability", type=Path, metavar="FILE.png", help="draw confidence against accuracy there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))
