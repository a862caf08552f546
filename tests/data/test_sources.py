import numpy as np
import pytest

from fer_jax.data import archives, fer2013
from fer_jax.data.sources import find
from fer_jax.errors import InputError

CHALLENGE = "train.csv+test.csv+icml_face_data.csv"


@pytest.mark.parametrize(
    "layout",
    [
        *(CHALLENGE, "fer2013.csv", "icml_face_data.csv", "train.csv+fer2013.csv"),
        *("zip", "tar", "zip of tar", "folders", "npz"),
    ],
)
def test_every_layout_gives_the_same_arrays(layout, faces, tmp_path, write_layout):
    write_layout(layout, faces, tmp_path)
    read = find(tmp_path).read()
    for expected, received in zip(faces[:3], read[:3], strict=True):
        np.testing.assert_array_equal(received.images, expected.images)
        np.testing.assert_array_equal(received.labels, expected.labels)
        assert (received.images.dtype, received.labels.dtype) == (np.uint8, np.int32)
    assert read.digest == faces.digest
    np.testing.assert_array_equal(
        read.test.labels, np.concatenate([faces.public_test.labels, faces.private_test.labels])
    )


def test_raw_files_come_before_the_npz(faces, tmp_path, write_layout):
    write_layout("fer2013.csv", faces, tmp_path)
    (tmp_path / "fer2013.npz").write_bytes(b"made from an older file")
    assert find(tmp_path).files == (tmp_path / "fer2013.csv",)


def test_missing_data_say_what_was_looked_for_and_where_to_get_it(faces, tmp_path, write_layout):
    with pytest.raises(InputError) as error:
        find(tmp_path / "absent")
    for part in (
        "absent",
        "train.csv",
        "fer2013.csv",
        archives.ARCHIVE,
        archives.TAR,
        fer2013.PAGE,
        "data/README.md",
    ):
        assert part in str(error.value)
    assert f"python scripts/download_data.py --data {tmp_path / 'absent'}" in str(error.value)
    write_layout("train.csv", faces, tmp_path)
    write_layout("test.csv", faces, tmp_path)
    with pytest.raises(
        InputError, match=r"train.csv and test.csv alone: the labels .* icml_face_data.csv"
    ):
        find(tmp_path)
