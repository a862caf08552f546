"""Corrupt faces of 48x48 pixels as cameras and rooms do, in five severities, alike at every call.

    worse = corrupt("motion blur", images, severity=3, seed=0)   # uint8 [N, 48, 48], as images

After Hendrycks & Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261. Their amounts are for
photographs of 224 pixels; ours are chosen for faces of 48, as `CORRUPTIONS` says. Factors of light
are applied to grey levels as they are stored.

Each image has a random generator, seeded with `seed`, the corruption's name and the image's pixels,
not its batch or the severity: the same noise grows from one severity to the next.
"""

import zlib

import numpy as np

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.evaluation.logits import check_images

SEVERITIES = (1, 2, 3, 4, 5)
_FINE = 8  # samples per pixel and axis when a blur's kernel is drawn
_PHOTONS = 4000  # of a white pixel in good light: about what a phone's small sensor can hold
_PENUMBRA = 4.0  # pixels, a twelfth of the face: soft enough to be a shadow, hard enough to be seen


def corrupt(name: str, images: np.ndarray, severity: int, seed: int = 0) -> np.ndarray:
    """Return images, uint8 [N, 48, 48], as the corruption `name` leaves them, rounded and clipped.

    An unknown corruption or severity, another dtype or shape, are an `InputError`.
    """
    if name not in CORRUPTIONS:
        raise InputError(f"unknown corruption {name!r}: expected one of {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise InputError(f"severity must be 1, 2, 3, 4 or 5, received {severity!r}")
    check_images(images)
    apply, amounts = CORRUPTIONS[name]
    worse = np.empty_like(images)
    for place, image in enumerate(images):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(image.tobytes())])
        changed = apply(image / np.float32(255), amounts[severity - 1], rng)
        worse[place] = np.clip(np.rint(255 * changed), 0, 255)
    return worse


def _noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    return image + deviation * rng.standard_normal(image.shape)


def _defocus(image: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """Spread points to discs, whose edges are soft because they span few pixels."""
    x = _places(radius)
    return _filtered(image, np.hypot(x[:, None], x) <= radius)


def _motion(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Spread points to lines, a pixel wide, in any direction."""
    angle = rng.uniform(0, np.pi)
    x = _places(length / 2)
    along = x * np.cos(angle) + x[:, None] * np.sin(angle)
    across = x[:, None] * np.cos(angle) - x * np.sin(angle)
    return _filtered(image, (np.abs(along) <= length / 2) & (np.abs(across) <= 0.5))


def _places(radius: float) -> np.ndarray:
    """Return the places, in pixels from the middle, of the samples along a kernel's side."""
    reach = int(np.ceil(radius))
    return (np.arange((2 * reach + 1) * _FINE) + 0.5) / _FINE - reach - 0.5


def _filtered(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blur by a mask with `_FINE` samples per pixel."""
    cv2 = faces.opencv()
    side = len(mask) // _FINE
    kernel = mask.reshape(side, _FINE, side, _FINE).sum(axis=(1, 3)).astype(np.float32)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    cv2 = faces.opencv()
    levels = np.rint(255 * image).astype(np.uint8)
    _, encoded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) / np.float32(255)


def _low_light(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Count photons (Poisson); the gain makes up for half of the missing light, in stops."""
    white = _PHOTONS * share
    return rng.poisson(image * white) / white * np.sqrt(share)


def _over_exposure(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    return image * factor


def _shadow(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Darken the left or right to a share; light comes up to 30 degrees from above or below."""
    side = rng.choice([-1.0, 1.0])
    angle = rng.uniform(-np.pi / 6, np.pi / 6)
    y, x = np.indices(image.shape) - (np.array(image.shape)[:, None, None] - 1) / 2
    lit = 1 / (1 + np.exp(-side * (x * np.cos(angle) + y * np.sin(angle)) / _PENUMBRA))
    return image * (share + (1 - share) * lit)


def _low_resolution(image: np.ndarray, side: float, rng: np.random.Generator) -> np.ndarray:
    cv2 = faces.opencv()
    small = cv2.resize(image, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _occlusion(image: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Cover a share with a grey rectangle (a hand, a mask), at most twice as long as wide."""
    aspect = 2 ** rng.uniform(-1, 1)
    down, right = rng.uniform(size=2)
    height = min(round(np.sqrt(share * image.size * aspect)), image.shape[0])
    width = min(round(share * image.size / height), image.shape[1])
    top = round(down * (image.shape[0] - height))
    left = round(right * (image.shape[1] - width))
    covered = image.copy()
    covered[top : top + height, left : left + width] = rng.uniform()
    return covered


def _rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Turn about the centre, either way; the border is repeated, as `faces.crop` does."""
    cv2 = faces.opencv()
    height, width = image.shape
    centre = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, degrees * rng.choice([-1, 1]), 1.0)
    border = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(image, matrix, (width, height), **border)


def _off_centre(image: np.ndarray, pixels: float, rng: np.random.Generator) -> np.ndarray:
    """Move the frame this far in any direction, in whole pixels; the border is repeated."""
    height, width = image.shape
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.arange(height) + round(pixels * np.sin(angle))
    columns = np.arange(width) + round(pixels * np.cos(angle))
    return image[np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)]


# By name: a function (image float32 [H, W] in [0, 1], amount, generator) -> the worse image, which
# may leave [0, 1]; and the amounts of the severities, from what a viewer hardly notices to what
# still lets one guess the expression.
CORRUPTIONS = {
    # about CIFAR-10-C's 0.04 to 0.10, whose 32 pixels are nearest to ours
    "noise": (_noise, (0.02, 0.04, 0.06, 0.08, 0.12)),  # standard deviation, of white
    # ImageNet-C's 3 to 10 pixels of 224, brought to 48, and a little on
    "defocus blur": (_defocus, (0.75, 1.0, 1.5, 2.0, 3.0)),  # radius in pixels
    # ImageNet-C's kernels reach 10 to 20 pixels of 224; a face moves more than a scene
    "motion blur": (_motion, (2.5, 4, 6, 8, 11)),  # length in pixels
    # ImageNet-C has 25 to 7: a block of 8 pixels is a sixth of a face, so milder ones count already
    "jpeg": (_jpeg, (50, 30, 20, 12, 7)),  # quality of 100
    # one to four and a half stops: from a cloudy window to a lamp in the next room
    "low light": (_low_light, (0.5, 0.3, 0.18, 0.1, 0.045)),  # share of the light
    # the brightest skin (0.83) reaches white at the mildest, FER-2013's mean (0.5) at the strongest
    "over-exposure": (_over_exposure, (1.2, 1.35, 1.5, 1.7, 2.0)),  # factor
    # one to three and a half stops between the sides of the face: a window, or a lamp in the dark
    "side shadow": (_shadow, (0.5, 0.35, 0.25, 0.15, 0.08)),  # share of the light
    # faces at the far end of a room: detectors stop at about 10 pixels
    "low resolution": (_low_resolution, (32, 24, 16, 12, 9)),  # side in pixels
    # from a finger to a mask over the lower face
    "occlusion": (_occlusion, (0.05, 0.1, 0.18, 0.28, 0.4)),  # share of the picture
    # what is left of a tilt after faces are levelled, up to one that no detector levelled
    "rotation": (_rotation, (5, 10, 17, 25, 35)),  # degrees
    # detectors' boxes are off by one or two pixels (benchmarks/fit_framing.py), trackers' by more
    "off-centre crop": (_off_centre, (2, 4, 6, 9, 12)),  # pixels
}
