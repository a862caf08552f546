"""Measure a trained model on the FER-2013 test set, or classify pictures with it."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fer_jax import cli, faces, files, runtime
from fer_jax.errors import InputError, printable
from fer_jax.faces import pictures

if TYPE_CHECKING:  # what imports jax is imported by the functions below, after `runtime.configure`
    from fer_jax.data import Fer2013
    from fer_jax.faces import Detector
    from fer_jax.plots import Explanation
    from fer_jax.predict import Predictor

EPILOG = """examples:
  python scripts/predict.py --data data
  python scripts/predict.py --tta --json metrics.json --confusion confusion_matrix.png --reliability reliability.png
  python scripts/predict.py --images holiday.jpg portraits/
  python scripts/predict.py --explain explained.png --against results/robust/robust_model.pkl

The test set is all 7,178 rows: PublicTest, then PrivateTest. A model that PublicTest chose (protocols kaggle and
ferplus-*) is reported on PrivateTest alone; one of ferplus-* on the votes in DIR/fer2013new.csv. --tta averages ten
views of each face, at ten times the cost.
With --images, a 48x48 grey picture is taken as a face; in any other picture faces are detected first, one row each.
--explain draws what the model looks at in the first face of --images (by default the shipped one), by three methods;
--against adds a second model.
"""
SHIPPED_FACE = Path(__file__).parents[1] / "results" / "preprocessing_test" / "image0.png"


class Measured(NamedTuple):
    """The figures; and labels int [N] with probabilities [N, C] before and after temperature
    scaling.
    """

    results: dict
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray


def main() -> int:
    args = parse_arguments()
    if args.images and (args.json or args.confusion or args.reliability):
        raise InputError(
            "--json, --confusion and --reliability describe the test set: they do not go with --images"
        )
    if args.explain and (args.tta or args.json or args.confusion or args.reliability):
        raise InputError(
            "--explain is about one view of a face: --tta, --json, --confusion, --reliability do not go with it"
        )
    if args.against and not args.explain:
        raise InputError(f"--against {args.against} goes with --explain, which is not given")
    runtime.configure()
    from fer_jax.predict import Predictor

    if args.explain:
        models = [args.model, args.against] if args.against else [args.model]
        face = first_face(
            args.images or [SHIPPED_FACE], faces.detector(args.detector, args.detector_model)
        )
        return explain(args.explain, models, face)
    if args.images:
        return classify(
            Predictor(args.model, args.tta),
            args.images,
            faces.detector(args.detector, args.detector_model),
        )
    from fer_jax import data

    fer = data.load(args.data)  # before the model: what is missing is said at once
    predictor = Predictor(args.model, args.tta)
    measured = measure(predictor, fer, args.data)
    if args.json:
        with files.replacing(args.json) as temporary:
            temporary.write_text(json.dumps(measured.results, indent=2) + "\n")
    if args.confusion or args.reliability:
        draw(measured, predictor.emotions, args.confusion, args.reliability)
    return 0


def draw(
    measured: Measured, emotions: tuple[str, ...], confusion: Path | None, reliability: Path | None
) -> None:
    from fer_jax import plots

    results, labels, before, after = measured
    if confusion:
        with files.replacing(confusion) as temporary:
            plots.confusion_matrix(np.array(results["confusion_matrix"]), emotions).savefig(
                temporary
            )
    if reliability:
        with files.replacing(reliability) as temporary:
            plots.reliability_diagram(labels, before, after).savefig(temporary)


def measure(predictor: "Predictor", fer: "Fer2013", folder: Path) -> Measured:
    """Predict the rows that the model's protocol reports on, and print the figures."""
    from fer_jax import data
    from fer_jax.evaluation.summary import (
        describe,
        describe_probabilities,
        probability_report,
        report,
    )

    metadata, temperature = predictor.model.metadata, predictor.model.temperature
    test, subsets = data.reported_by(metadata, fer, folder)
    logits = predictor.logits(test.images, progress=True)
    before, after = (
        predictor.probabilities(logits, 1.0),
        predictor.probabilities(logits, temperature),
    )
    results = report(test.labels, after.argmax(axis=1), subsets, predictor.emotions)
    results["unscaled"], results["scaled"] = (
        probability_report(test.labels, p) for p in (before, after)
    )
    whole = next(iter(results["accuracy"].values()))
    print(
        f"Accuracy on test set: {100 * whole['correct'] // whole['rows']}%\n\n{describe(results)}"
    )
    print(f"\n{describe_probabilities(results['unscaled'], results['scaled'])}")
    results |= {
        "test_time_augmentation": predictor.tta,
        "temperature": temperature,
        "data": fer.digest,
        "model": metadata,
    }
    return Measured(results, test.labels, before, after)


def classify(predictor: "Predictor", paths: list[Path], detector: "Detector") -> int:
    """Print one row per face; 2 if a picture could not be read, after all the others."""
    print(" ".join(f"{emotion:>8}" for emotion in predictor.emotions) + "  emotion   picture")
    errors = []
    for path in listed(paths):
        try:
            crops = faces_of(path, detector)
        except InputError as error:
            errors.append(error)
            continue
        if not crops:
            print(
                f"{'no face found':>{9 * len(predictor.emotions) - 1}}  {'-':9} {printable(str(path))}"
            )
        for where, face in crops:
            probabilities = predictor(face[None])[0]
            columns = " ".join(f"{probability:8.3f}" for probability in probabilities)
            print(
                f"{columns}  {predictor.emotions[probabilities.argmax()]:9} {printable(str(path))}{where}"
            )
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 2 if errors else 0


def explain(out: Path, models: list[Path | None], face: np.ndarray) -> int:
    """Draw what each model looks at in the face, and print what it says of it."""
    from fer_jax import plots
    from fer_jax.predict import Predictor, default_model_path

    rows = [
        explained(Predictor(path), (path or default_model_path()).stem, face) for path in models
    ]
    with files.replacing(out) as temporary:
        plots.explanations(face, rows).savefig(temporary)
    for row in rows:
        print(row.title.replace("\n", ": "))
    print(f"wrote {out}")
    return 0


def explained(predictor: "Predictor", name: str, face: np.ndarray) -> "Explanation":
    from fer_jax import models, plots
    from fer_jax.models.explain import grad_cam, integrated_gradients, saliency

    probabilities = predictor(face[None])[0]
    image, said = face[None, :, :, None] / np.float32(255), np.array([probabilities.argmax()])
    maps = (
        saliency(predictor.logits_fn, image, said),
        integrated_gradients(predictor.logits_fn, image, said),
        grad_cam(
            models.create(predictor.model.architecture), predictor.model.variables, image, said
        ),
    )
    title = f"{name}\n{predictor.emotions[said[0]]} {probabilities.max():.1%}"
    return plots.Explanation(title, *(np.asarray(each[0]) for each in maps))


def first_face(paths: list[Path], detector: "Detector") -> np.ndarray:
    face = next((face for path in listed(paths) for _, face in faces_of(path, detector)), None)
    if face is None:
        raise InputError(f"{paths[0]}: must show a face to explain, none was found")
    return face


def listed(paths: list[Path]) -> list[Path]:
    """The files named, and the pictures at any depth of the folders named."""
    return [
        file
        for path in paths
        for file in (pictures.in_folder(path, nested=True) if path.is_dir() else [path])
    ]


def faces_of(path: Path, detector: "Detector") -> list[tuple[str, np.ndarray]]:
    """(where in the picture, uint8 [48, 48]) of each face; a 48x48 picture without colour is one."""
    image = faces.read_image(path)
    grey = image if image.ndim == 2 else image[..., 0]
    if grey.shape == (faces.FACE_SIZE, faces.FACE_SIZE) and (
        image.ndim == 2 or (image == grey[..., None]).all()
    ):
        return [("", grey)]
    return [
        (f" (face at x={box.x} y={box.y}, {box.w}x{box.h})", face)
        for box, face in faces.faces_in(image, detector)
    ]


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="FER-2013 (default: data)"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="model file (default: the shipped model)"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: mean over ten views of each face",
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", metavar="PATH", help="classify these pictures or folders"
    )
    faces.add_detector(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--confusion", type=Path, metavar="FILE.png", help="draw the confusion matrix there"
    )
    parser.add_argument(
        "--reliability",
        type=Path,
        metavar="FILE.png",
        help="draw confidence against accuracy there",
    )
    parser.add_argument(
        "--explain", type=Path, metavar="FILE.png", help="draw there which pixels of a face decide"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="with --explain: a second model, for comparison",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))
