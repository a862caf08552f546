"""Random training views, made on the device inside jit, each image's own, all from one key.

images, targets = augment(key, faces, targets, config.augment, side=48)  # targets float32 [B, C]
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from fer_jax.config import Augment


def augment(
    key: Array, faces: Array, targets: Array, settings: Augment, side: int, field: float = 1.0
) -> tuple[Array, Array]:
    """Return views of faces uint8 [B, H, H], float32 [B, side, side, 1] in [0, 1], and targets.

    One flip, shift, zoom and rotation as a single bilinear resampling (border pixels repeat), then
    contrast and brightness about the image's mean, erasing, and mixup and CutMix with the image
    before it in the batch. `field` is the side of the central square that a view shows before it is
    moved, 1 for all of it.
    """
    keys = jax.random.split(key, 5)
    grid = _grid(keys[0], faces.shape, settings, side, field)
    images = _resample(faces.astype(jnp.float32) / 255, *grid)
    images = _relight(keys[1], images, settings)
    images = _erase(keys[2], images, settings.erase) if settings.erase else images
    images = images[..., None]
    if settings.mixup:
        images, targets = _mixup(keys[3], images, targets, settings.mixup)
    if settings.cutmix:
        images, targets = _cutmix(keys[4], images, targets, settings.cutmix)
    return images, targets


def _uniform(key: Array, n: int, reach: float) -> Array:
    """[n, 1, 1] in +-reach."""
    return jax.random.uniform(key, (n, 1, 1), minval=-1.0) * reach


def _grid(key: Array, shape: tuple, settings: Augment, side: int, field: float):
    """Row and column of each pixel of the view in its source image, [B, side, side] each."""
    n, height = shape[:2]
    keys = jax.random.split(key, 5)
    axis = field * ((jnp.arange(side) + 0.5) / side - 0.5)  # pixel centres, the image being 1 wide
    y, x = axis[None, :, None], axis[None, None, :]
    angle = _uniform(keys[0], n, settings.rotate) * jnp.pi / 180
    zoom = 1 / (1 + _uniform(keys[1], n, settings.scale))
    flipped = jax.random.bernoulli(keys[2], shape=(n, 1, 1)) & settings.flip
    mirror = jnp.where(flipped, -1.0, 1.0)
    rows = zoom * (jnp.cos(angle) * y - jnp.sin(angle) * x)
    rows += _uniform(keys[3], n, settings.shift)
    columns = mirror * zoom * (jnp.sin(angle) * y + jnp.cos(angle) * x)
    columns += _uniform(keys[4], n, settings.shift)
    return (rows + 0.5) * height - 0.5, (columns + 0.5) * height - 0.5


def _resample(images: Array, rows: Array, columns: Array) -> Array:
    """Bilinear values of images [B, H, W] at the coordinates; outside, the nearest border pixel."""
    n, height, width = images.shape
    flat = images.reshape(n, -1)
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    top = jnp.minimum(rows.astype(jnp.int32), height - 2)
    left = jnp.minimum(columns.astype(jnp.int32), width - 2)
    down, right = rows - top, columns - left
    first = (top * width + left).reshape(n, -1)

    def at(offset: int) -> Array:
        return jnp.take_along_axis(flat, first + offset, axis=1, mode="clip").reshape(rows.shape)

    upper = at(0) * (1 - right) + at(1) * right
    lower = at(width) * (1 - right) + at(width + 1) * right
    return upper * (1 - down) + lower * down


def _relight(key: Array, images: Array, settings: Augment) -> Array:
    contrast_key, brightness_key = jax.random.split(key)
    mean = images.mean(axis=(1, 2), keepdims=True)
    contrast = 1 + _uniform(contrast_key, len(images), settings.contrast)
    brightness = _uniform(brightness_key, len(images), settings.brightness)
    return jnp.clip((images - mean) * contrast + mean + brightness, 0, 1)


def _erase(key: Array, images: Array, probability: float) -> Array:
    """Noise over a rectangle, 2-20 % of the area, aspect 0.3 to 3.3 (arxiv.org/abs/1708.04896)."""
    n, side, _ = images.shape
    keys = jax.random.split(key, 4)
    area = jax.random.uniform(keys[0], (n, 1, 1), minval=0.02, maxval=0.2)
    aspect = jnp.exp(_uniform(keys[1], n, math.log(3.3)))
    inside = _rectangle(keys[2], side, area, aspect)
    key, chosen_key = jax.random.split(keys[3])
    chosen = jax.random.bernoulli(chosen_key, probability, (n, 1, 1))
    return jnp.where(inside & chosen, jax.random.uniform(key, images.shape), images)


def _rectangle(key: Array, side: int, area: Array, aspect: Array | float = 1.0) -> Array:
    """Bool [B, side, side]: a rectangle of a share `area` [B, 1, 1], cut at the border."""
    half_height, half_width = jnp.sqrt(area * aspect) / 2, jnp.sqrt(area / aspect) / 2
    centre = jax.random.uniform(key, (2, *area.shape))
    axis = (jnp.arange(side) + 0.5) / side
    inside = jnp.abs(axis[None, :, None] - centre[0]) < half_height
    return inside & (jnp.abs(axis[None, None, :] - centre[1]) < half_width)


def _cutmix(key: Array, images: Array, targets: Array, probability: float):
    """A rectangle of the image before it, its share uniform (https://arxiv.org/abs/1905.04899)."""
    n, side = images.shape[:2]
    keys = jax.random.split(key, 3)
    inside = _rectangle(keys[0], side, jax.random.uniform(keys[1], (n, 1, 1)))
    inside &= jax.random.bernoulli(keys[2], probability, (n, 1, 1))
    share = inside.mean(axis=(1, 2))[:, None]
    mixed = jnp.where(inside[..., None], jnp.roll(images, 1, axis=0), images)
    return mixed, (1 - share) * targets + share * jnp.roll(targets, 1, axis=0)


def _mixup(key: Array, images: Array, targets: Array, alpha: float) -> tuple[Array, Array]:
    """Blend each image with the one before it in the batch (https://arxiv.org/abs/1710.09412)."""
    share = jax.random.beta(key, alpha, alpha, (len(images), 1))
    by_pixel = share[:, :, None, None]
    mixed = by_pixel * images + (1 - by_pixel) * jnp.roll(images, 1, axis=0)
    return mixed, share * targets + (1 - share) * jnp.roll(targets, 1, axis=0)
