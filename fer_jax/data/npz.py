"""Read and write `fer2013.npz`, FER-2013 as plain arrays: train_images, train_labels, ..."""

from functools import partial
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from fer_jax import files, labels
from fer_jax.data.archives import zip_errors
from fer_jax.data.fer2013 import MAX_ROWS, Fer2013, Reader, Source, Split, bundle
from fer_jax.errors import InputError
from fer_jax.types import IMAGE_SIZE

NAME = "fer2013.npz"
_SPLITS = Fer2013._fields[:3]


def find(directory: Path) -> Source | None:
    """Return the source of `directory`'s fer2013.npz."""
    path = directory / NAME
    return Source(directory, (path,), partial(read, path)) if path.is_file() else None


def save(data: Fer2013, path: Path) -> None:
    """Write the arrays uncompressed (83 MB), to be read with NumPy alone."""
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays(data))


def arrays(data: Fer2013) -> dict[str, np.ndarray]:
    """Return the arrays by their names in the file."""
    return {
        f"{name}_{field}": array
        for name, split in zip(_SPLITS, data[:3], strict=True)
        for field, array in split._asdict().items()
    }


def read(path: Path) -> Fer2013:
    """Read what `save` wrote; InputError: damage, or an array that is missing or another one.

    Its type and shape are checked before anything is allocated.
    """
    try:
        with zip_errors(path), ZipFile(path) as archive:
            splits = [_read_split(path, archive, name) for name in _SPLITS]
    except InputError:
        raise
    # The errors of NumPy's parser of array headers are many.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(f"{path}: must be a prepared npz: {reason}") from error
    return bundle(*splits)


def _read_split(path: Path, archive: ZipFile, name: str) -> Split:
    images = _read_array(path, archive, f"{name}_images", np.uint8, IMAGE_SIZE, IMAGE_SIZE)
    emotions = _read_array(path, archive, f"{name}_labels", np.int32)
    if len(images) != len(emotions):
        received = f"{len(emotions)} for {len(images)}"
        raise InputError(f"{path}: {name} must have one label per image, received {received}")
    if len(emotions) and not (emotions.min() >= 0 and emotions.max() < labels.NUM_CLASSES):
        span = f"{emotions.min()} to {emotions.max()}"
        raise InputError(f"{path}: {name}_labels must be 0 to 6, received {span}")
    return Split(images, emotions)


def _read_array(path: Path, archive: ZipFile, key: str, dtype: type, *item: int) -> np.ndarray:
    """One array, [N, *item] of `dtype`."""
    if f"{key}.npy" not in archive.namelist():
        raise InputError(f"{path}: must hold the array {key}, it does not")
    member = archive.getinfo(f"{key}.npy")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            rule = f"{key} must be in version 1.0 of the npy format"
            raise InputError(f"{path}: {rule}, received {version}")
        shape, fortran, claimed = np.lib.format.read_array_header_1_0(stream)
        size = member.file_size - stream.tell()
        right = claimed == dtype and shape[1:] == item and len(shape) == 1 + len(item)
        fits = size == np.prod(shape, dtype=object) * claimed.itemsize
        if not (right and fits) or fortran or shape[0] > MAX_ROWS:
            wanted = f"{np.dtype(dtype)} [N{''.join(f', {n}' for n in item)}]"
            received = f"{str(claimed)[:80]} of shape {str(shape)[:80]} in {size} bytes"
            raise InputError(f"{path}: {key} must be {wanted}, received {received}")
        return np.frombuffer(stream.read(size), claimed).reshape(shape)


READER = Reader(find, (NAME,), NAME)
