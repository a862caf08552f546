"""Choose a face, search for the smallest change that hacks it, and report pictures and figures."""

import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fer_jax import data, faces, files
from fer_jax.attacks import ATTACKS, NORMS
from fer_jax.data import Fer2013, Split
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import Attacked, attacked
from fer_jax.predict import Predictor
from fer_jax.robustness import hack, hack_photo
from fer_jax.robustness.hack import Hack, Settings
from fer_jax.robustness.hack_files import describe_universal, publish

SURE = 0.9  # the probability that the image to be hacked must have
FITTED = 2000  # images that a universal perturbation is fitted to
HELD_OUT = 500  # and on which it is reported
PICTURES = ("input_image.png", "hacked_image.png", "perturbation.png")
FILES = ("adversarial_attack.png", *PICTURES, "hack.json")


class Request(NamedTuple):
    """What to hack and how, with the names of `scripts/hack_the_cnn.py`'s options.

    Attributes:
        method, norm, steps, eps, restarts, seed: as for `hack.settings_for`.
        source, target: emotions: what the network sees, and what it is to see.
        image: a row of the test set; None: the first that fits.
        photo: a photograph to be hacked instead.
        data, model, out: FER-2013's folder, a model file and the results' folder; None: the usual.
        detector, detector_model: as for `faces.detector`, for the photograph.
    """

    method: str
    norm: str | None
    steps: int | None
    eps: float | None
    restarts: int
    seed: int
    source: str
    target: str
    image: int | None
    photo: Path | None
    data: Path
    model: Path | None
    out: Path | None
    detector: str
    detector_model: Path | None


class Subject(NamedTuple):
    """An image to be hacked, uint8 [48, 48], what it is called, and the folder for the results."""

    image: np.ndarray
    origin: str
    folder: Path


def run(request: Request) -> int:
    """Hack what was asked for, write and print the results; return 1 where no change was found.

    Raises:
        InputError: options that do not go together, or an image that cannot be hacked.
    """
    names = ("method", "norm", "steps", "eps", "restarts", "seed")
    settings = hack.settings_for(**{name: getattr(request, name) for name in names})
    if request.photo:
        return _photo(request.photo, request, settings)
    predictor = Predictor(request.model)
    source, target = predictor.label(request.source), predictor.label(request.target)
    if source == target:
        raise InputError(f"--source and --target must differ, both are {request.source}")
    fer = load_data(request.data, request.image)
    subject = choose(predictor, source, fer, request.image)
    attack_at, which = None, ""
    if settings.method == "universal":
        images, which = faces_to_fit(predictor, source, fer, settings.seed)
        fitted_to = (settings, predictor.logits_fn, images, target)
        attack_at = functools.partial(hack.universal, *fitted_to)
    found = hack.smallest(settings, predictor.logits_fn, subject.image, target, attack_at)
    figures = {"method": settings.method, "norm": settings.norm, "eps": found.eps}
    figures["steps"] = settings.steps
    if which:
        others = held_out(found, settings, predictor, source, target, fer)
        figures["universal"] = {"fitted_to": which, **others}
    if found.worked:
        write(request.out or subject.folder, subject, found.found, predictor, figures)
        return 0
    limit = f"up to {settings.norm} {found.eps:.3g} that makes it {predictor.emotions[target]}"
    print(f"{settings.method} found no change of {subject.origin} {limit}")
    if which:
        print(describe_universal(figures["universal"]))
    return 1


def _photo(path: Path, request: Request, settings: Settings) -> int:
    fitting = [name for name, entry in ATTACKS.items() if entry.any_shape]
    if settings.method not in fitting or settings.norm != "linf" or request.image is not None:
        methods = ", ".join(fitting)
        raise InputError(f"--photo goes with --method {methods} and linf, and without --image")
    predictor = Predictor(request.model)
    target = predictor.label(request.target)
    # never photo/, which git keeps
    folder = request.out or _results() / f"photo_{path.stem}"
    detector = faces.detector(request.detector, request.detector_model)
    return hack_photo.run(path, folder, settings, predictor, target, detector)


def _results() -> Path:
    return files.root() / "results" / "hack_cnn"


def load_data(folder: Path, image: int | None) -> Fer2013 | None:
    """Load FER-2013, or return None where nobody asked for it and there is none.

    Damaged or incomplete data are no such case (`InputError`).
    """
    try:
        return data.load(folder)
    except InputError:
        asked = image is not None or folder != files.root() / "data"
        if asked or data.any_in(folder):
            raise
        print(f"note: {folder} holds no FER-2013: hacking a shipped face", file=sys.stderr)
        return None


def choose(predictor: Predictor, source: int, fer: Fer2013 | None, image: int | None) -> Subject:
    """Return the test image asked for, else the first of its class that the network is sure of.

    Without FER-2013: the shipped face of which it is surest.

    Raises:
        InputError: there is none, or the network is not sure of it.
    """
    emotion = predictor.emotions[source]
    if fer is None:
        paths, images = shipped_faces()
        probabilities = predictor(images)[:, source]
        best = int(probabilities.argmax())
        check_sure(probabilities[best], emotion, f"the shipped faces in {paths[0].parent}")
        return Subject(images[best], paths[best].name, _results())
    test = fer.test
    rows = np.flatnonzero(test.labels == source) if image is None else np.array([image])
    if not len(rows):
        raise InputError(f"the test set holds no image that is labelled {emotion}")
    if not 0 <= rows.min() <= rows.max() < len(test.labels):
        rule = f"--image must be a row of the test set, 0 to {len(test.labels) - 1}"
        raise InputError(f"{rule}, received {image}")
    if (test.labels[rows] != source).any():
        label = predictor.emotions[test.labels[rows[0]]]
        raise InputError(f"--image {image} is labelled {label}, not {emotion}")
    probabilities = predictor(test.images[rows], progress=True)[:, source]
    first = int((probabilities > SURE).argmax())
    where = "the test set" if image is None else f"test image {image}"
    check_sure(probabilities[first], emotion, where)
    row = int(rows[first])
    return Subject(test.images[row], f"test row {row}", _results() / str(row))


def shipped_faces() -> tuple[list[Path], np.ndarray]:
    """Return the faces that come with the code, uint8 [N, 48, 48], and their files.

    Raises:
        InputError: there are none, as in an installed wheel.
    """
    folder = files.root() / "results" / "preprocessing_test"
    number = lambda path: int(path.stem.removeprefix("image"))
    paths = sorted(folder.glob("image*.png"), key=number)
    if not paths:
        raise InputError(f"{folder}: holds no image*.png; FER-2013 is needed (data/README.md)")
    return paths, np.stack([faces.read_image(path) for path in paths])


def check_sure(probability: float, emotion: str, where: str) -> None:
    """Raise an `InputError` unless the probability is above `SURE`."""
    if probability <= SURE:
        rule = f"the network must say {emotion} with more than {SURE:.0%}"
        raise InputError(f"{where}: {rule}, it says {probability:.1%}")


def faces_to_fit(
    predictor: Predictor, source: int, fer: Fer2013 | None, seed: int
) -> tuple[np.ndarray, str]:
    """Return images uint8 [N, 48, 48] to fit a universal perturbation to, and a name for them."""
    emotion = predictor.emotions[source]
    if fer is None:
        _, images = shipped_faces()
        images = images[predictor(images).argmax(axis=1) == source]
        return images, f"{len(images)} shipped faces that the network calls {emotion}"
    rows = np.flatnonzero(fer.train.labels == source)
    if not len(rows):
        raise InputError(f"the training set holds no image that is labelled {emotion}")
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:FITTED])
    return fer.train.images[rows], f"{len(rows):,} training images labelled {emotion}"


def sure_images(predictor: Predictor, split: Split, source: int, sure: float) -> np.ndarray:
    """Return the images of a class that the network gives it with a probability above `sure`."""
    images = split.images[split.labels == source]
    return images[predictor(images, progress=True)[:, source] > sure]


def held_out(
    found: Hack,
    settings: Settings,
    predictor: Predictor,
    source: int,
    target: int,
    fer: Fer2013 | None,
) -> dict[str, Any]:
    """Return how often a universal perturbation works, rounded to 8 bits, on other test images."""
    if fer is None:
        return {"held_out": 0}
    images = sure_images(predictor, fer.test, source, SURE)
    images = np.random.default_rng(settings.seed).permutation(images)[:HELD_OUT]
    options = {"key": jax.random.key(settings.seed), "targeted": True}
    ball = {"norm": NORMS[settings.norm], "eps": found.eps}
    goals = np.full(len(images), target)
    result = attacked(found.attack, predictor.logits_fn, images, goals, **options, **ball)
    worked, n = int(result.reached_8bit.sum()), len(images)
    low, high = metrics.wilson(worked, n)
    return {"held_out": n, "worked": worked, "rate": worked / n, "low": low, "high": high}


def write(
    folder: Path, subject: Subject, found: Attacked, predictor: Predictor, figures: dict[str, Any]
) -> None:
    """Write the pictures and, of the pictures as they lie on the disk, the figures."""
    delta = found.images[0].astype(int) - subject.image
    strongest = max(1, np.abs(delta).max())
    change = (127.5 + 127.5 * delta / strongest).astype(np.uint8)
    for name, picture in zip(PICTURES, (subject.image, found.images[0], change), strict=True):
        faces.write_png(folder / name, picture)
    saved = np.stack([faces.read_image(folder / name) for name in PICTURES[:2]])
    figures = {"image": subject.origin, **figures, "pixels": subject.image.size}
    figures["norms"] = {name: float(sizes[0]) for name, sizes in found.norms.items()}
    figures["ssim"] = float(metrics.ssim(saved[:1] / 255, saved[1:] / 255)[0])
    publish(folder, saved, predictor(saved), predictor, figures, FILES)
