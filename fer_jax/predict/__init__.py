"""Faces in, probabilities out.

predictor = Predictor()             # the shipped model
probabilities = predictor(faces)    # uint8 [N, 48, 48] -> float32 [N, 7], as `predictor.emotions`
"""

import functools
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from jax.tree_util import Partial
from scipy.special import softmax

from fer_jax import models
from fer_jax.errors import InputError
from fer_jax.evaluation.logits import check_images, predict_logits
from fer_jax.models import model_file
from fer_jax.models.model_file import ModelFile
from fer_jax.types import IMAGE_SIZE

# a batch is padded to the next of these, so that a changing number of faces compiles four programs
BUCKETS = (1, 8, 64, 256)


def default_model_path() -> Path:
    """Return the model that an installed package carries, else the one that a checkout holds."""
    packaged = Path(str(resources.files("fer_jax"))) / "assets" / "my_own_model.pkl"
    checkout = Path(__file__).parents[2] / "results" / "model" / "my_own_model.pkl"
    return packaged if packaged.is_file() else checkout


def load_model(path: str | Path | None = None) -> ModelFile:
    """Load a model file, by default the shipped one, as `model_file.load` does."""
    default = default_model_path()
    if path is None and not default.is_file():
        remedy = "train one (scripts/train.py) or give a path"
        raise InputError(f"{default}: no model is shipped; {remedy}")
    return model_file.load(path or default)


class Predictor:
    """A trained model as a function of faces, compiled once per batch size of `BUCKETS`.

    With `tta` (test-time augmentation) the probabilities are the mean over ten views of each face:
    centred and shifted by two pixels up, down, left and right, each as it is and mirrored.
    """

    def __init__(self, model: str | Path | ModelFile | None = None, tta: bool = False):
        self.model = model if isinstance(model, ModelFile) else load_model(model)
        self.tta = tta
        self.emotions = self.model.emotions
        network = models.create(self.model.architecture)
        apply = jax.jit(functools.partial(network.apply, train=False))
        self.logits_fn = Partial(apply, jax.device_put(self.model.variables))  # for attacks

    def __call__(self, faces: np.ndarray, progress: bool = False) -> np.ndarray:
        """Return probabilities, float32 [N, C], of uint8 [N, 48, 48], scaled by the temperature."""
        return self.probabilities(self.logits(faces, progress), self.model.temperature)

    def label(self, emotion: str) -> int:
        """Return the column of an emotion's English name, in any case; InputError: unknown."""
        name = emotion.strip().lower()
        if name not in self.emotions:
            known = ", ".join(self.emotions)
            raise InputError(f"unknown emotion {emotion!r}: the network tells {known} apart")
        return self.emotions.index(name)

    def logits(self, faces: np.ndarray, progress: bool = False) -> np.ndarray:
        """Return unscaled logits of every view, float32 [views, N, C]; see `__call__`."""
        check_images(faces)
        # 256 images leave a CPU's caches
        buckets = BUCKETS[:-1] if jax.default_backend() == "cpu" else BUCKETS
        batch_size = next((size for size in buckets if size >= len(faces)), buckets[-1])
        views = tuple(_views(faces)) if self.tta else (faces,)
        images, classes = np.concatenate(views), len(self.emotions)
        logits = predict_logits(self.logits_fn, images, batch_size, progress, classes)
        return logits.reshape(len(views), len(faces), classes)

    @staticmethod
    def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
        """Return probabilities [N, C]: the mean over views of logits [views, N, C], scaled."""
        return softmax(logits / np.float32(temperature), axis=-1).mean(axis=0)


def _views(faces: np.ndarray) -> Iterator[np.ndarray]:
    """Yield ten views of faces [N, 48, 48], each of the same shape; the first is the original."""
    padded = np.pad(faces, ((0, 0), (2, 2), (2, 2)), mode="edge")
    for top, left in ((2, 2), (4, 2), (0, 2), (2, 4), (2, 0)):
        view = padded[:, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]
        yield view
        yield view[:, :, ::-1]
