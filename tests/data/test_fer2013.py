import warnings

import numpy as np
import pytest

from fer_jax.data import DataWarning, Fer2013, Split, fer2013
from fer_jax.data.fer2013 import bundle


def test_digest_depends_on_pixels_labels_and_split(faces):
    pixels = faces.train.images.copy()
    pixels[3, 4, 5] ^= 1
    labels = (faces.train.labels + 1) % 7
    moved = bundle(faces.train, faces.private_test, faces.public_test)
    digests = {
        faces.digest,
        bundle(faces.train._replace(images=pixels), *faces[1:3]).digest,
        bundle(faces.train._replace(labels=labels), *faces[1:3]).digest,
        moved.digest,
    }
    assert len(digests) == 4


def test_short_files_warn_with_both_counts(faces):
    with pytest.warns(
        DataWarning, match=r"somewhere: 30 Training rows \(published: 28,709\), 8 PublicTest rows"
    ):
        fer2013.warn_if_short(faces, "somewhere")


def test_published_counts_do_not_warn():
    def split(n: int) -> Split:
        return Split(np.zeros((n, 1, 1), np.uint8), np.zeros(n, np.int32))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fer2013.warn_if_short(Fer2013(*(split(n) for n in fer2013.PUBLISHED.values()), ""), "x")
