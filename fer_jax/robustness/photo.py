"""Hack a photograph: change its own pixels, at full size and in colour, to mislead the pipeline.

    attack = ATTACKS["pgd"].build(4 / 255, "linf", steps=40, targeted=True)
    hacked = hack(image, predictor, detector, index("sad"), attack, 4 / 255, jax.random.key(0))

Photographs are uint8 [H, W] or BGR [H, W, 3]. With the box given, `faces.crop` is linear in them
but for its roundings: grey, bilinear samples, their means. That is a sparse matrix (`crop_matrix`),
through which gradients go back to every pixel; they pass straight through the rounding.

There is no gradient through detection, but a changed photograph may move the box, by a pixel or a
degree. So it is looked at again, and an ensemble is attacked: the boxes found so far, and boxes
close to them (Athalye et al., ICML 2018, https://arxiv.org/abs/1707.07397).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import sparse

from fer_jax import faces
from fer_jax.faces import FACE_SIZE, Face, framing
from fer_jax.predict import Predictor
from fer_jax.types import Attack, LogitsFn

# OpenCV's integers: BT.601's 0.114, 0.587, 0.299
BGR_TO_GREY = np.array([3735, 19235, 9798], np.float32) / 2**15

_ENSEMBLE = 5  # boxes that are attacked at once
_ROUNDS = 6  # of attacking and looking again; a box that was seen twice ends them earlier
# right, down, size in % of a box; degrees
_JITTERS = ((-1, 0, 1, 1), (1, 0, -1, -1), (0, -1, 1, -1), (0, 1, -1, 1))
_SAME_ROLL = math.radians(0.5)


class Look(NamedTuple):
    """What the pipeline sees in a photograph: its largest face."""

    face: Face
    crop: np.ndarray  # uint8 [48, 48]
    probabilities: np.ndarray  # float32 [C]


class _Taps(NamedTuple):  # entries of the ensemble's matrices, filled up with weights of 0
    places: np.ndarray  # int32 [T], in 0..5*48*48-1: a pixel of a crop
    pixels: np.ndarray  # int32 [T], which of the photograph's pixels that the crops show
    weights: np.ndarray  # float32 [T]


def look(image: faces.Frame, predictor: Predictor, detector: faces.Detector) -> Look | None:
    """Detect, cut and classify the largest face as every script does; None without a face."""
    found = faces.faces_in(image, detector)
    if not found:
        return None
    face, crop = found[0]
    return Look(face, crop, predictor(crop[None])[0])


def hack(
    image: faces.Frame,
    predictor: Predictor,
    detector: faces.Detector,
    target: int,
    attack: Attack,
    eps: float,
    key: jax.Array,
) -> faces.Frame | None:
    """Return the photograph changed so that its largest face is seen as `target`, or None.

    The attack, targeted and Linf, is given the pixels that the crops show as one image
    [1, P, 1, channels]; its eps must be `eps`, in [0, 1], here rounded down to whole levels
    of 8 bits. Raises a ValueError if there is no face in the image.
    """
    seen = look(image, predictor, detector)
    if seen is None:
        raise ValueError("there must be a face in the image")
    known = [seen.face]
    for number in range(_ROUNDS):
        given = (image, _ensemble(known), predictor.logits_fn, target)
        hacked = _attacked(*given, attack, eps, jax.random.fold_in(key, number))
        seen = look(hacked, predictor, detector)
        if seen is None or seen.probabilities.argmax() == target:
            return hacked if seen else None
        new = seen.face
        # it was attacked and held: more of the same will not do
        if any(face[:4] == new[:4] and abs(face.roll - new.roll) < _SAME_ROLL for face in known):
            return None
        known.append(new)
    return None


def crop_matrix(shape: tuple[int, ...], box: Face) -> sparse.csr_array:
    """Return `faces.crop` as a matrix float32 [48*48, H*W] from a photograph's grey levels.

    A row's weights are at least 0 and sum to 1. Rounded, the product differs by at most one level
    from the crop, which rounds three times.
    """
    height, width = shape[:2]
    x, y, times = _samples((height, width), box)
    left, top = np.minimum(x.astype(int), width - 1), np.minimum(y.astype(int), height - 1)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    along, down = x - left, y - top
    rows, columns = np.indices(x.shape) // times
    corners = ((top, left, (1 - down) * (1 - along)), (top, right, (1 - down) * along))
    corners += ((bottom, left, down * (1 - along)), (bottom, right, down * along))
    weights = np.stack([weight for _, _, weight in corners]).ravel() / times**2
    pixels = np.stack([row * width + column for row, column, _ in corners]).ravel()
    places = np.tile((rows * FACE_SIZE + columns).ravel(), 4)
    entries = weights.astype(np.float32), (places, pixels)
    return sparse.coo_array(entries, shape=(FACE_SIZE**2, height * width)).tocsr()


def grey_levels(image: faces.Frame) -> np.ndarray:
    """Return OpenCV's grey levels, not rounded, float [H, W] in [0, 255]."""
    return image @ BGR_TO_GREY if image.ndim == 3 else image.astype(np.float32)


def _samples(size: tuple[int, int], box: Face) -> tuple[np.ndarray, np.ndarray, int]:
    """Return where `faces.crop` samples a photograph: x, y [48 * times, 48 * times], and `times`.

    OpenCV is asked, by cutting two ramps: its versions round the places of samples differently.
    """
    square = framing.frame_of(box)
    times = math.ceil(max(1.0, square.side / FACE_SIZE))
    part, left, top = framing.surroundings(np.broadcast_to(np.uint8(0), size), square)
    down, right = np.indices(part.shape, np.float32)
    # three channels, as a photograph: OpenCV may treat two in another way
    ramps = np.dstack([right, down, down])
    square = square._replace(x=square.x - left, y=square.y - top)
    seen = framing.cut(ramps, square, FACE_SIZE * times)
    return seen[..., 0].astype(float) + left, seen[..., 1].astype(float) + top, times


def _ensemble(known: Sequence[Face]) -> list[Face]:
    """Return the boxes to attack: those found last, and boxes close to the very last."""
    newest = known[-1]
    unit = max(1, round(min(newest.w, newest.h) / 100))
    close = []
    for right, down, grown, turned in _JITTERS:
        x, y, w, h = newest.x + right * unit, newest.y + down * unit, newest.w, newest.h
        # a detector that knows no tilt will not see the face turned
        roll = newest.roll + math.radians(turned) if newest.roll else 0.0
        close.append(Face(x, y, w + grown * unit, h + grown * unit, roll, newest.framing))
    return [*known[-_ENSEMBLE:], *close][:_ENSEMBLE]


def _attacked(image, boxes, logits_fn, target, attack, eps, key) -> faces.Frame:
    """Attack in all boxes at once; round to 8 bits, within eps whatever the attack did."""
    taps, shown = _taps(image.shape, boxes)
    flat = image.reshape(image.shape[0] * image.shape[1], -1)
    grey = BGR_TO_GREY if flat.shape[1] == 3 else np.ones(1, np.float32)
    pixels = np.zeros((1, _filled(len(shown)), 1, flat.shape[1]), np.float32)
    pixels[0, : len(shown), 0] = flat[shown] / np.float32(255)
    ensemble = Partial(_ensemble_logits, logits_fn, taps, grey)
    attacked = attack(key, ensemble, jnp.asarray(pixels), jnp.array([target]))
    levels = math.floor(255 * eps + 1e-6)
    original = flat[shown].astype(int)
    change = np.rint(255 * np.asarray(attacked)[0, : len(shown), 0]) - original
    hacked = flat.copy()
    hacked[shown] = np.clip(original + np.clip(change, -levels, levels), 0, 255)
    return hacked.reshape(image.shape)


def _taps(shape: tuple[int, ...], boxes: Sequence[Face]) -> tuple[_Taps, np.ndarray]:
    """Return the ensemble's matrices, and which pixels of the photograph they show, int [P]."""
    entries = sparse.vstack([crop_matrix(shape, box) for box in boxes]).tocoo()
    shown, pixels = np.unique(entries.coords[1], return_inverse=True)
    columns = entries.coords[0].astype(np.int32), pixels.astype(np.int32), entries.data
    rest = _filled(entries.nnz) - entries.nnz
    return _Taps(*(np.pad(column, (0, rest)) for column in columns)), shown


def _filled(count: int) -> int:
    """Round up to one of eight sizes between two powers of two: few shapes are compiled."""
    step = 1 << max(count.bit_length() - 4, 0)
    return -(-count // step) * step


def _ensemble_logits(logits_fn: LogitsFn, taps: _Taps, grey, images: jax.Array) -> jax.Array:
    """Return the boxes' mean log-probabilities [B, C] of pixels float32 [B, P, 1, channels]."""
    levels = 255 * jnp.einsum("bpic,c->bp", images, grey)
    places = jnp.zeros((len(images), _ENSEMBLE * FACE_SIZE**2))
    crops = places.at[:, taps.places].add(taps.weights[None] * levels[:, taps.pixels])
    crops += jax.lax.stop_gradient(jnp.round(crops) - crops)  # rounded, and yet of slope 1
    logits = logits_fn(crops.reshape(-1, FACE_SIZE, FACE_SIZE, 1) / 255)
    return jax.nn.log_softmax(logits).reshape(len(images), _ENSEMBLE, -1).mean(axis=1)
