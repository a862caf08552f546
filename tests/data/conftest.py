"""FER-2013 in the layouts that its users have it in, small."""

import csv
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import Fer2013, Split, npz
from fer_jax.data.fer2013 import bundle
from fer_jax.labels import EMOTIONS

HEADERS = {
    "train.csv": ("emotion", "pixels"),
    "test.csv": ("pixels",),
    "icml_face_data.csv": ("emotion", " Usage", " pixels"),
    "fer2013.csv": ("emotion", "pixels", "Usage"),
}
CHALLENGE = ("train.csv", "test.csv", "icml_face_data.csv")


@pytest.fixture(scope="session")
def faces() -> Fer2013:
    """30 + 8 + 6 rows; the last image ends in zeros, which a careless byte string would lose."""
    rng = np.random.default_rng(1)

    def split(n: int) -> Split:
        images = rng.integers(0, 256, (n, 48, 48), np.uint8)
        images[-1, 40:] = 0
        return Split(images, rng.integers(0, 7, n).astype(np.int32))

    return bundle(split(30), split(8), split(6))


def write_csv(data: Fer2013, path: Path) -> None:
    header = HEADERS[path.name]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for usage, split in data.splits.items():
            if (path.name == "train.csv" and usage != "Training") or (
                path.name == "test.csv" and usage == "Training"
            ):
                continue
            for image, label in zip(*split, strict=True):
                cells = {
                    "emotion": label,
                    "pixels": " ".join(map(str, image.ravel())),
                    "Usage": usage,
                }
                writer.writerow([cells[column.strip()] for column in header])


def write_folders(data: Fer2013, directory: Path, named: bool = True) -> None:
    cv2 = pytest.importorskip("cv2")
    number = 0
    for usage, split in data.splits.items():
        for image, label in zip(*split, strict=True):
            number += 1
            folder = directory / ("train" if usage == "Training" else "test") / EMOTIONS[label]
            folder.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / f"{usage if named else 'face'}_{number}.png"), image)


def write_zip(data: Fer2013, directory: Path) -> None:
    with zipfile.ZipFile(directory / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in CHALLENGE:
            write_csv(data, directory / name)
            archive.write(directory / name, f"some/folder/{name}")
            (directory / name).unlink()
        archive.writestr("example_submission.csv", "emotion\n0\n")


def csv_bytes(data: Fer2013, directory: Path) -> bytes:
    write_csv(data, directory / "fer2013.csv")
    content = (directory / "fer2013.csv").read_bytes()
    (directory / "fer2013.csv").unlink()
    return content


def write_tar(data: Fer2013, directory: Path) -> None:
    """As in the wild: made by tar itself, CSV first."""
    with tarfile.open(directory / "fer2013.tar.gz", "w:gz") as archive:
        for name, content in (
            ("fer2013.csv", csv_bytes(data, directory)),
            ("README", b"Hello"),
            ("fer2013.bib", b"@"),
        ):
            info = tarfile.TarInfo(f"fer2013/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_nested_tar(data: Fer2013, directory: Path) -> None:
    """The challenge's zip without the file that labels the test rows."""
    write_tar(data, directory)
    with zipfile.ZipFile(directory / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(directory / "fer2013.tar.gz", "fer2013.tar.gz")
        archive.writestr("test.csv", "pixels\n")
    (directory / "fer2013.tar.gz").unlink()


def write(layout: str, data: Fer2013, directory: Path) -> None:
    if layout == "zip":
        write_zip(data, directory)
    elif layout == "tar":
        write_tar(data, directory)
    elif layout == "zip of tar":
        write_nested_tar(data, directory)
    elif layout.endswith("folders"):
        write_folders(data, directory, named=layout == "folders")
    elif layout == "npz":
        npz.save(data, directory / "fer2013.npz")
    else:
        for name in layout.split("+"):
            write_csv(data, directory / name)


@pytest.fixture(scope="session")
def write_layout() -> Callable[[str, Fer2013, Path], None]:
    """`write`: "zip", "tar", "zip of tar", "folders", "unnamed folders", "npz", "a.csv+b.csv"."""
    return write


@pytest.fixture(scope="session")
def table(faces, tmp_path_factory) -> bytes:
    """The content of fer2013.csv."""
    return csv_bytes(faces, tmp_path_factory.mktemp("table"))
