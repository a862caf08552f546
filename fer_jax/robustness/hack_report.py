"""Hack a face or a photograph by the smallest change that works; write pictures and figures.

Faces are uint8 [48, 48]; `source` and `target` are classes: what the network sees, and is to see.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fer_jax import data, faces, files, plots
from fer_jax.attacks import ATTACKS, NORMS
from fer_jax.data import Fer2013
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.evaluation.attacked import attacked
from fer_jax.predict import Predictor
from fer_jax.robustness import hack, photo
from fer_jax.robustness.hack import SURE, Hack, Settings

FITTED = 2000  # images that a universal perturbation is fitted to
HELD_OUT = 500  # and on which it is reported
PICTURES = ("input_image.png", "hacked_image.png", "perturbation.png")
FILES = ("adversarial_attack.png", *PICTURES, "hack.json")
PHOTO_FILES = ("hacked_photo.png", "adversarial_attack.png", "hack.json")
RESULTS = "results/hack_cnn"


def run(args: Namespace) -> int:
    """Hack what the options of `scripts/hack_the_cnn.py` ask for; 1: no change was found.

    An `InputError` says that options do not go together, or that an image cannot be hacked.
    """
    names = ("method", "norm", "steps", "eps", "restarts", "seed")
    settings = hack.settings_for(**{name: getattr(args, name) for name in names})
    return _hack_photo(args, settings) if args.photo else _hack_face(args, settings)


def _hack_face(args: Namespace, settings: Settings) -> int:
    """Hack a test image, or without FER-2013 a shipped face."""
    predictor = Predictor(args.model)
    source, target = predictor.label(args.source), predictor.label(args.target)
    if source == target:
        raise InputError(f"--source and --target must differ, both are {args.source}")
    fer = _load_data(args.data, args.image)
    image, origin, folder = _choose(predictor, source, fer, args.image)
    which = ""
    attack_at = None
    if settings.method == "universal":
        images, which = _faces_to_fit(predictor, source, fer, settings.seed)
        given = (predictor.logits_fn, images, target)
        options = {"norm": settings.norm, "steps": settings.steps, "seed": settings.seed}
        attack_at = lambda eps: hack.adding(hack.fitted(*given, eps=eps, **options))
    found = hack.smallest(settings, predictor.logits_fn, image, target, attack_at)
    figures = {"image": origin, "method": settings.method, "norm": settings.norm, "eps": found.eps}
    figures["steps"] = settings.steps
    if which:
        others = _held_out(found, settings, predictor, source, target, fer)
        figures["universal"] = {"fitted_to": which, **others}
    if found.worked:
        _write(args.out or files.root() / RESULTS / folder, image, found, predictor, figures)
        return 0
    limit = f"up to {settings.norm} {found.eps:.3g} that makes it {predictor.emotions[target]}"
    print(f"{settings.method} found no change of {origin} {limit}")
    if which:
        print(_describe_universal(figures["universal"]))
    return 1


def _load_data(folder: Path, image: int | None) -> Fer2013 | None:
    """Load FER-2013, or return None where nobody asked for it and there is nothing of it."""
    try:
        return data.load(folder)
    except InputError:
        if image is not None or folder != files.root() / "data" or data.any_in(folder):
            raise
        print(f"note: {folder} holds no FER-2013: hacking a shipped face", file=sys.stderr)
        return None


def _choose(predictor: Predictor, source: int, fer: Fer2013 | None, image: int | None):
    """Return the test image asked for, else the first of its class that the network is sure of.

    Without FER-2013: the shipped face of which it is surest. Besides, the image's name and its
    folder among the results.
    """
    emotion = predictor.emotions[source]
    if fer is None:
        paths, images = shipped_faces()
        probabilities = predictor(images)[:, source]
        best = int(probabilities.argmax())
        _check_sure(probabilities[best], emotion, f"the shipped faces in {paths[0].parent}")
        return images[best], paths[best].name, ""
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
    _check_sure(probabilities[first], emotion, where)
    row = int(rows[first])
    return test.images[row], f"test row {row}", str(row)


def shipped_faces() -> tuple[list[Path], np.ndarray]:
    """Return the files of the faces that come with the code, and the faces [N, 48, 48].

    Raises an `InputError` where there are none, as in an installed wheel.
    """
    folder = files.root() / "results" / "preprocessing_test"
    number = lambda path: int(path.stem.removeprefix("image"))
    paths = sorted(folder.glob("image*.png"), key=number)
    if not paths:
        raise InputError(f"{folder}: holds no image*.png; FER-2013 is needed (data/README.md)")
    return paths, np.stack([faces.read_image(path) for path in paths])


def _check_sure(probability: float, emotion: str, where: str) -> None:
    if probability <= SURE:
        rule = f"the network must say {emotion} with more than {SURE:.0%}"
        raise InputError(f"{where}: {rule}, it says {probability:.1%}")


def _faces_to_fit(predictor: Predictor, source: int, fer: Fer2013 | None, seed: int):
    """Return faces [N, 48, 48] to fit a universal perturbation to, and in words which."""
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


def _held_out(found: Hack, settings: Settings, predictor: Predictor, source, target, fer):
    """Return how often a universal perturbation works, rounded to 8 bits, on other test images."""
    if fer is None:
        return {"held_out": 0}
    images = fer.test.images[fer.test.labels == source]
    images = images[predictor(images, progress=True)[:, source] > SURE]
    images = np.random.default_rng(settings.seed).permutation(images)[:HELD_OUT]
    options = {"key": jax.random.key(settings.seed), "targeted": True}
    options |= {"norm": NORMS[settings.norm], "eps": found.eps}
    goals = np.full(len(images), target)
    result = attacked(found.attack, predictor.logits_fn, images, goals, **options)
    worked = int(result.reached_8bit.sum())
    n = len(images)
    low, high = metrics.wilson(worked, n)
    return {"held_out": n, "worked": worked, "rate": worked / n, "low": low, "high": high}


def _write(folder: Path, image: np.ndarray, found: Hack, predictor: Predictor, figures) -> None:
    """Write the pictures and, of the pictures as they lie on the disk, the figures."""
    hacked = found.found.images[0]
    delta = hacked.astype(int) - image
    change = (127.5 + 127.5 * delta / max(1, np.abs(delta).max())).astype(np.uint8)
    for name, picture in zip(PICTURES, (image, hacked, change), strict=True):
        faces.write_png(folder / name, picture)
    saved = np.stack([faces.read_image(folder / name) for name in PICTURES[:2]])
    norms = {name: float(sizes[0]) for name, sizes in found.found.norms.items()}
    figures |= {"pixels": image.size, "norms": norms}
    figures["ssim"] = float(metrics.ssim(saved[:1] / 255, saved[1:] / 255)[0])
    _publish(folder, saved, predictor(saved), predictor, figures, FILES)


def _hack_photo(args: Namespace, settings: Settings) -> int:
    """Hack a photograph, that must show a face and not the target already."""
    path = args.photo
    fitting = [name for name, entry in ATTACKS.items() if entry.any_shape]
    if settings.method not in fitting or settings.norm != "linf" or args.image is not None:
        methods = ", ".join(fitting)
        raise InputError(f"--photo goes with --method {methods} and linf, and without --image")
    predictor = Predictor(args.model)
    target = predictor.label(args.target)
    # never photo/, which git keeps
    folder = args.out or files.root() / RESULTS / f"photo_{path.stem}"
    detector = faces.detector(args.detector, args.detector_model)
    if path.resolve() in [(folder / name).resolve() for name in PHOTO_FILES]:
        rule = f"would be replaced by what --out {folder} is to hold; give another folder"
        raise InputError(f"{path}: {rule}")
    image = faces.read_image(path, full_size=True)
    clean = photo.look(image, predictor, detector)
    if clean is None:
        rule = f"the photograph must show a face, but {detector.name} finds none"
        raise InputError(f"{path}: {rule}")
    emotions = predictor.emotions
    best = clean.probabilities.argmax()
    verdict = f"{emotions[best]} ({clean.probabilities.max():.1%})"
    if best == target:
        rule = f"the network must not say {emotions[target]} already, it says {verdict}"
        raise InputError(f"{path}: {rule}")
    levels = [settings.eps] if settings.eps is not None else hack.LEVELS["linf"]
    for eps in levels:
        key = jax.random.key(settings.seed)
        attack = hack.make_attack(settings, eps)
        hacked = photo.hack(image, predictor, detector, target, attack, eps, key)
        if hacked is not None:
            faces.write_png(folder / PHOTO_FILES[0], hacked)
            figures = {"image": path.name, "method": settings.method, "norm": "linf", "eps": eps}
            figures |= {"steps": settings.steps, "detector": detector.name}
            _write_photo(folder, image, clean, predictor, detector, figures)
            return 0
    limit = f"no change up to linf {levels[-1]:.3g} that makes it {emotions[target]}"
    print(f"{path}: {verdict}; {settings.method} found {limit}")
    return 1


def _write_photo(folder: Path, image: faces.Frame, clean: photo.Look, predictor, detector, figures):
    """Add the figures of the hacked photograph as it lies on the disk, and publish them."""
    hacked = faces.read_image(folder / PHOTO_FILES[0])
    seen = photo.look(hacked, predictor, detector)
    if seen is None:
        raise RuntimeError(f"{folder / PHOTO_FILES[0]}: a PNG file must keep the face in it")
    delta = hacked.astype(int) - image
    rows, columns = np.nonzero(delta.reshape(*image.shape[:2], -1).any(axis=2))
    part = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    grey, hacked_grey = (photo.grey_levels(each[part])[None] / 255 for each in (image, hacked))
    norms = {"l0": len(rows), "l1": float(np.abs(delta).sum())}
    norms |= {"l2": float(np.linalg.norm(delta)), "linf": int(np.abs(delta).max())}
    figures |= {"pixels": image.shape[0] * image.shape[1], "norms": norms}
    figures["ssim"] = float(metrics.ssim(grey, hacked_grey)[0])  # of the part that was changed
    figures["boxes"] = {"before": clean.face[:4], "after": seen.face[:4]}
    # both from the same box: else what differs is mostly the move
    crops = np.stack([faces.crop(image, seen.face), seen.crop])
    probabilities = np.stack([clean.probabilities, seen.probabilities])
    _publish(folder, crops, probabilities, predictor, figures, PHOTO_FILES)


def _publish(folder: Path, crops, probabilities, predictor: Predictor, figures, written) -> None:
    """Write adversarial_attack.png and hack.json, and print the figures and what was `written`.

    Of the face before and after: crops [2, 48, 48] and probabilities [2, C].
    """
    emotions = predictor.emotions
    figure = plots.adversarial(crops, probabilities, emotions)
    plots.save(figure, folder / "adversarial_attack.png")
    before, after = (dict(zip(emotions, each.tolist(), strict=True)) for each in probabilities)
    names = ("name", "protocol", "git_revision", "best_epoch")
    model = {name: predictor.model.metadata.get(name) for name in names}
    report = {**figures, "before": before, "after": after, "model": model}
    files.write_json(folder / "hack.json", report)
    print(_describe(report))
    print(f"wrote {folder}/{', '.join(written)}")


def _describe(report: dict[str, Any]) -> str:
    """Return hack.json's figures as lines for the terminal."""
    norm, eps, norms = report["norm"], report["eps"], report["norms"]
    size = f"{norm} {eps * 255:.3g}/255" if norm == "linf" else f"{norm} {eps:.3g}"
    lines = [f"{report['image']}: {report['method']}, {size}\n"]
    lines.append(f"{'':10}{'before':>8}{'after':>8}")
    for name, before in report["before"].items():
        lines.append(f"{name:10}{before:>8.1%}{report['after'][name]:>8.1%}")
    changed = f"changed {norms['l0']:,.0f} of {report['pixels']:,} pixels"
    levels = f"by at most {norms['linf']:.0f} of 255 levels"
    lengths = f"L2 {norms['l2']:.1f}, L1 {norms['l1']:,.0f} levels"
    lines += ["", f"{changed} {levels} ({lengths}), SSIM {report['ssim']:.4f}"]
    if "universal" in report:
        lines.append(_describe_universal(report["universal"]))
    return "\n".join(lines)


def _describe_universal(figures: dict[str, Any]) -> str:
    text = f"the same for all images: fitted to {figures['fitted_to']}"
    if not figures["held_out"]:
        return f"{text}, and tried on no others"
    interval = f"95% interval {figures['low']:.1%} to {figures['high']:.1%}"
    images = f"{figures['held_out']} test images of which the network is sure"
    return f"{text}, works on {figures['worked']} of {images}, {figures['rate']:.1%} ({interval})"
