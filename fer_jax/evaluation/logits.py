"""Logits of many faces, batch by batch.

logits = predict_logits(lambda images: model.apply(variables, images, train=False), faces)
"""

import numpy as np
from tqdm import tqdm

from fer_jax.errors import InputError
from fer_jax.labels import NUM_CLASSES
from fer_jax.types import IMAGE_SIZE, LogitsFn


def predict_logits(
    logits_fn: LogitsFn, images: np.ndarray, batch_size=256, progress=False, classes=NUM_CLASSES
) -> np.ndarray:
    """Return the logits, float32 [N, C], of images, uint8 [N, 48, 48].

    `logits_fn` sees batches of exactly `batch_size` (the last one padded with zeros, whose logits
    are dropped), so a jitted one is compiled once; it must treat the rows of a batch independently.
    `progress` draws a bar on a terminal; `classes` is C where there are no images.
    """
    check_images(images)
    return predict_floats(logits_fn, images, batch_size, progress, classes)


def predict_floats(logits_fn, images, batch_size, progress=False, classes=NUM_CLASSES):
    """Do as `predict_logits`, also with float images [N, 48, 48, 1] in [0, 1]."""
    logits = []
    bar = {"desc": "predicting", "unit": "batch", "leave": False}
    bar["disable"] = None if progress else True
    for start in tqdm(range(0, len(images), batch_size), **bar):
        rows = images[start : start + batch_size]
        batch = np.zeros((batch_size, IMAGE_SIZE, IMAGE_SIZE, 1), np.float32)
        batch[: len(rows)] = rows if rows.ndim == 4 else rows[..., None] / np.float32(255)
        logits.append(np.asarray(logits_fn(batch), np.float32)[: len(rows)])
    return np.concatenate(logits) if logits else np.empty((0, classes), np.float32)


def check_images(images: np.ndarray) -> None:
    """Raise an `InputError` unless `images` is a uint8 array [N, 48, 48]."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        rule = "must be a numpy array of uint8 grey levels in 0..255"
    elif images.ndim != 3 or images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        rule = f"must have shape [N, {IMAGE_SIZE}, {IMAGE_SIZE}]"
    else:
        return
    received = f"{getattr(images, 'dtype', type(images).__name__)} {list(np.shape(images))}"
    raise InputError(f"faces {rule}, received {received}")
