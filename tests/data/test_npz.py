import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import Fer2013, npz
from fer_jax.data.sources import find
from fer_jax.errors import InputError


def write_arrays(path: Path, faces: Fer2013, **changed: np.ndarray) -> None:
    np.savez(path, **{**npz.arrays(faces), **changed})


@pytest.mark.parametrize(
    ("key", "array", "rule"),
    [
        (
            "train_images",
            np.zeros((30, 48, 48), np.float32),
            "train_images must be uint8 [N, 48, 48], received float32",
        ),
        ("train_images", np.zeros((30, 48), np.uint8), "received uint8 of shape (30, 48)"),
        (
            "train_images",
            np.zeros((29, 48, 48), np.uint8),
            "train must have one label per image, received 30 for 29",
        ),
        ("train_labels", np.zeros(30, np.int64), "train_labels must be int32 [N], received int64"),
        ("train_labels", np.full(30, 7, np.int32), "train_labels must be 0 to 6, received 7 to 7"),
        (
            "private_test_labels",
            np.full(6, -1, np.int32),
            "private_test_labels must be 0 to 6, received -1 to -1",
        ),
        ("train_labels", np.array([print] * 30, object), "received object"),
    ],
)
def test_npz_arrays_are_checked(key, array, rule, faces, tmp_path):
    write_arrays(tmp_path / "fer2013.npz", faces, **{key: array})
    with pytest.raises(InputError) as error:
        find(tmp_path).read()
    assert str(error.value).startswith(f"{tmp_path / 'fer2013.npz'}: ")
    assert rule in str(error.value)


def test_npz_damage_is_refused(faces, tmp_path):
    path = tmp_path / "fer2013.npz"
    npz.save(faces, path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[5000] ^= 255  # a pixel: found by the archive's checksum
    header = whole.replace(b"'|u1'", b"os.x}", 1)
    for content in (b"", whole[:1000], whole[:-100], bytes(damaged), header, b"PK" + bytes(500)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"fer2013.npz"):
            find(tmp_path).read()


def test_npz_header_cannot_ask_for_more_than_the_file_holds(faces, tmp_path):
    arrays = npz.arrays(faces)
    header = (
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 48, 48), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "fer2013.npz", "w") as archive:
        for key in arrays:
            archive.writestr(
                f"{key}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
            )
    with pytest.raises(
        InputError,
        match=r"train_images must be uint8 \[N, 48, 48\], received uint8 of shape \(99999999999",
    ):
        find(tmp_path).read()


def test_npz_without_an_array_is_refused(faces, tmp_path):
    np.savez(tmp_path / "fer2013.npz", train_images=faces.train.images)
    with pytest.raises(InputError, match="must hold the array train_labels"):
        find(tmp_path).read()
