"""Hack a photograph by the smallest eps that works, write it beside its figures and print them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.evaluation import metrics
from fer_jax.predict import Predictor
from fer_jax.robustness import hack, photo
from fer_jax.robustness.hack import Settings
from fer_jax.robustness.hack_files import publish
from fer_jax.robustness.photo import Look

FILES = ("hacked_photo.png", "adversarial_attack.png", "hack.json")


def run(
    path: Path,
    folder: Path,
    settings: Settings,
    predictor: Predictor,
    target: int,
    detector: faces.Detector,
) -> int:
    """Hack the photograph at `path`; return 0, or 1 where no change was found.

    Raises:
        InputError: it shows no face or the target already, or `folder` would replace it.
    """
    if path.resolve() in [(folder / name).resolve() for name in FILES]:
        rule = f"would be replaced by what --out {folder} is to hold; give another folder"
        raise InputError(f"{path}: {rule}")
    image = faces.read_image(path, full_size=True)
    clean = photo.look(image, predictor, detector)
    if clean is None:
        rule = f"the photograph must show a face, but {detector.name} finds none"
        raise InputError(f"{path}: {rule}")
    emotions, best = predictor.emotions, clean.probabilities.argmax()
    verdict = f"{emotions[best]} ({clean.probabilities.max():.1%})"
    if best == target:
        rule = f"the network must not say {emotions[target]} already, it says {verdict}"
        raise InputError(f"{path}: {rule}")
    levels = [settings.eps] if settings.eps is not None else hack.LEVELS["linf"]
    for eps in levels:
        attack, key = hack.make_attack(settings, eps), jax.random.key(settings.seed)
        hacked = photo.hack(image, predictor, detector, target, attack, eps, key)
        if hacked is not None:
            faces.write_png(folder / FILES[0], hacked)
            figures = {"image": path.name, "method": settings.method, "norm": "linf", "eps": eps}
            figures |= {"steps": settings.steps, "detector": detector.name}
            report(folder, image, clean, predictor, detector, figures)
            return 0
    limit = f"no change up to linf {levels[-1]:.3g} that makes it {emotions[target]}"
    print(f"{path}: {verdict}; {settings.method} found {limit}")
    return 1


def report(
    folder: Path,
    image: faces.Frame,
    clean: Look,
    predictor: Predictor,
    detector: faces.Detector,
    figures: dict[str, Any],
) -> None:
    """Add the figures of the hacked photograph as it lies on the disk, and publish them."""
    hacked = faces.read_image(folder / FILES[0])
    seen = photo.look(hacked, predictor, detector)
    if seen is None:
        raise RuntimeError(f"{folder / FILES[0]}: a PNG file must keep the face written to it")
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
    publish(folder, crops, probabilities, predictor, figures, FILES)
