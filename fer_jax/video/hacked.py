"""See each face also with one fixed perturbation that is to make it show an emotion.

change = fit_perturbation(predictor, "sad", 8 / 255, Path("data"))
predictor = Hacked(predictor, change)
"""

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
    """Return one change for all faces, float32 [48, 48] in grey levels of 255.

    Args:
        emotion: what it is to make them show.
        eps: its largest size, of pixels in [0, 1].
        folder: of the training images, as for `faces_to_fit`.

    Raises:
        InputError: the network does not know the emotion, or the training images are broken.
    """
    if emotion not in predictor.emotions:
        known = ", ".join(predictor.emotions)
        raise InputError(f"--hack: unknown emotion {emotion!r}: the network tells {known} apart")
    images, which = faces_to_fit(folder)
    count = f"{len(images):,} {which}"
    print(f"--hack: fitting a perturbation to {count} ...", file=sys.stderr, flush=True)
    target, together = predictor.emotions.index(emotion), 32  # faces in a step
    change = hack.fitted(predictor.logits_fn, images, target, eps=eps, batch_size=together)
    return 255 * change[0, :, :, 0]


def faces_to_fit(folder: Path) -> tuple[np.ndarray, str]:
    """Return images, uint8 [N, 48, 48], and in words which they are.

    Training images if there are any in `folder`, else the faces that come with the code.
    """
    if not data.any_in(folder):
        return hack_report.shipped_faces()[1], "shipped faces"
    images = data.load(folder).train.images
    rows = np.random.default_rng(0).permutation(len(images))[: hack_report.FITTED]
    return images[rows], "training images"
