"""See each face also with one fixed perturbation that is to make it show an emotion."""

import sys
from pathlib import Path

import numpy as np

from fer_jax import data
from fer_jax.errors import InputError
from fer_jax.predict import Predictor
from fer_jax.robustness import hack, hack_report


class Hacked:
    """A predictor of each face as it is and, beside it, with a change: float32 [N, 2, C].

    The change, float32 [48, 48], is in grey levels of 255; a changed face is rounded and clipped.
    """

    def __init__(self, predictor: Predictor, change: np.ndarray) -> None:
        self.emotions = predictor.emotions
        self._predictor, self._change = predictor, change

    def __call__(self, batch: np.ndarray, /) -> np.ndarray:
        hacked = np.clip(np.rint(batch + self._change), 0, 255).astype(np.uint8)
        both = self._predictor(np.concatenate([batch, hacked]))
        return both.reshape(2, len(batch), -1).swapaxes(0, 1)


def fit_perturbation(predictor: Predictor, emotion: str, eps: float, folder: Path) -> np.ndarray:
    """Return one change, of pixels by at most `eps` of 1, that is to make all faces show `emotion`.

    It is float32 [48, 48] in grey levels. An emotion that the network does not know is refused.
    """
    if emotion not in predictor.emotions:
        known = ", ".join(predictor.emotions)
        raise InputError(f"--hack: unknown emotion {emotion!r}: the network tells {known} apart")
    images, which = faces_to_fit(folder)
    message = f"--hack: fitting a perturbation to {len(images):,} {which} ..."
    print(message, file=sys.stderr, flush=True)
    target = predictor.emotions.index(emotion)
    return (
        255 * hack.fitted(predictor.logits_fn, images, target, eps=eps, batch_size=32)[0, :, :, 0]
    )


def faces_to_fit(folder: Path) -> tuple[np.ndarray, str]:
    """Return training images, if `folder` holds any, or the shipped faces; and which they are."""
    if not data.any_in(folder):
        return hack_report.shipped_faces()[1], "shipped faces"
    images = data.load(folder).train.images
    rows = np.random.default_rng(0).permutation(len(images))[: hack_report.FITTED]
    return images[rows], "training images"
