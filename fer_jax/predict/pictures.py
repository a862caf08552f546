"""A trained model on pictures: a row per face for the terminal, or a figure of what decides."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fer_jax import faces, files, models, plots
from fer_jax.errors import InputError, printable
from fer_jax.faces import FACE_SIZE, Detector
from fer_jax.faces.pictures import in_folder
from fer_jax.models.explain import grad_cam, integrated_gradients, saliency
from fer_jax.predict import Predictor, default_model_path


def classify(paths: Iterable[Path], predictor: Predictor, detector: Detector) -> int:
    """Print one row per face, and last what could not be read; return the exit code, then 2."""
    emotions, errors = predictor.emotions, []
    print(" ".join(f"{emotion:>8}" for emotion in emotions) + "  emotion   picture")
    for path in _files(paths):
        name = printable(str(path))
        try:
            crops = _faces_of(path, detector)
        except InputError as error:
            errors.append(error)
            continue
        if not crops:
            print(f"{'no face found':>{9 * len(emotions) - 1}}  {'-':9} {name}")
        for where, face in crops:
            probabilities = predictor(face[None])[0]
            columns = " ".join(f"{probability:8.3f}" for probability in probabilities)
            print(f"{columns}  {emotions[probabilities.argmax()]:9} {name}{where}")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 2 if errors else 0


def explain(out: Path, model_paths: list[Path | None], face: np.ndarray) -> None:
    """Draw to `out` what models (None: the shipped one) see in a face, and print what they say."""
    files.require_ending(out, *plots.ENDINGS)
    rows = [_explanation(path, face) for path in model_paths]
    plots.save(plots.explanations(face, rows), out)
    for title, _ in rows:
        print(title.replace("\n", ": "))
    print(f"wrote {out}")


def first_face(paths: list[Path], detector: Detector) -> np.ndarray:
    """Return the first face, uint8 [48, 48], that files and folders show; InputError: none."""
    for path in _files(paths):
        for _, face in _faces_of(path, detector):
            return face
    raise InputError(f"{paths[0]}: must show a face to explain, none was found")


def _explanation(path: Path | None, face: np.ndarray) -> tuple[str, list[np.ndarray]]:
    """Return what a model says of a face, and which pixels decide it by three methods."""
    predictor, name = Predictor(path), (path or default_model_path()).stem
    probabilities, network = predictor(face[None])[0], models.create(predictor.model.architecture)
    image, seen = face[None, :, :, None] / np.float32(255), probabilities.argmax()
    classes = np.array([seen])
    maps = (
        saliency(predictor.logits_fn, image, classes),
        integrated_gradients(predictor.logits_fn, image, classes),
        grad_cam(network, predictor.model.variables, image, classes),
    )
    title = f"{name}\n{predictor.emotions[seen]} {probabilities.max():.1%}"
    return title, [np.asarray(each[0]) for each in maps]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files, and the pictures at any depth of the folders."""
    for path in paths:
        yield from in_folder(path, nested=True) if path.is_dir() else [path]


def _faces_of(path: Path, detector: Detector) -> list[tuple[str, np.ndarray]]:
    """Return (where in the picture, uint8 [48, 48]) of each face; a 48x48 grey picture is one."""
    image = faces.read_image(path)
    grey = image if image.ndim == 2 else image[..., 0]
    colourless = image.ndim == 2 or (image == grey[..., None]).all()
    if grey.shape == (FACE_SIZE, FACE_SIZE) and colourless:
        return [("", grey)]
    found = faces.faces_in(image, detector)
    return [(f" (face at x={at.x} y={at.y}, {at.w}x{at.h})", face) for at, face in found]
