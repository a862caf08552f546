"""Load FER-2013 from a folder; the first start parses it, later ones read what the first one
prepared.

    data = load(Path("data"))
    data.train.images.shape, data.test.labels.shape  # (28709, 48, 48), (7178,)

Prepared files are kept beside the source, under a name made from the hash of its content, so that a
changed source is prepared anew: data/tfds/HASH (tensorflow_datasets) or, where that is not
installed, data/prepared/HASH.npz.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fer_jax import files
from fer_jax.data import sources
from fer_jax.data.sources import Fer2013
from fer_jax.errors import InputError

TEST_CSV = "test_with_emotions.csv"


def load(directory: Path = Path("data"), *, cache: bool = True) -> Fer2013:
    """The data in `directory`, in whatever layout `fer_jax.data.sources.find` knows.

    With `cache`, prepared files are used if they were made from this very source, else they are
    made, and so is `test_with_emotions.csv`; a folder that cannot be written to costs a note on
    stderr. Warns (`DataWarning`) about splits that have not the published number of rows.

    Raises:
        InputError: no data there, or malformed ones.
    """
    directory = Path(directory)
    source = sources.find(directory)
    prepared = source.files[0].name == sources.NPZ
    data = _load_prepared(directory, source) if cache and not prepared else source.read()
    sources.warn_if_short(data, str(directory))
    return data


def save_npz(data: Fer2013, path: Path) -> None:
    """Write the arrays uncompressed (83 MB): `fer2013.npz` in a folder is read by `load` with NumPy
    alone.
    """
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **sources.npz_arrays(data))


def write_test_with_emotions(data: Fer2013, path: Path) -> None:
    """Write the test rows as CSV (emotion, pixels): PublicTest, then PrivateTest."""
    text = [str(value) for value in range(256)]
    with files.replacing(path) as temporary, temporary.open("w", newline="\n") as stream:
        stream.write("emotion,pixels\n")
        for image, label in zip(*data.test, strict=True):
            stream.write(f"{label},{' '.join(map(text.__getitem__, image.ravel().tolist()))}\n")


def _keep_test_with_emotions(data: Fer2013, path: Path) -> None:
    """Write the file unless one of the very size that `data` gives is there: it may be deleted, or
    be another source's.
    """
    images = data.test.images
    digits = images.size + (images >= 10).sum() + (images >= 100).sum()
    # a space or line end after each; label, comma
    size = len("emotion,pixels\n") + digits + images.size + 2 * len(images)
    if not path.is_file() or path.stat().st_size != size:
        write_test_with_emotions(data, path)


@contextmanager
def _noting_failure(directory: Path) -> Iterator[None]:
    """A folder that cannot be written to is no reason to do without what was read."""
    try:
        yield
    except OSError as error:
        _note(f"{error.filename or directory}: {error.strerror or error}: going on without it")


def _load_prepared(directory: Path, source: sources.Source) -> Fer2013:
    """Read the prepared files; where there are none, or none that are whole, parse the source and
    write them.
    """
    key = source.digest()[:16]
    builder = _builder()
    path = directory / "tfds" / key if builder else directory / "prepared" / f"{key}.npz"
    if path.exists():
        try:
            data = builder.read(path) if builder else sources.read_npz(path)
            with _noting_failure(directory):
                _keep_test_with_emotions(data, directory / TEST_CSV)
            return data
        except InputError as error:
            _note(f"{error}; preparing it again")
    data = source.read()
    with _noting_failure(directory):
        if builder:
            with _replacing_folder(path) as temporary:
                builder.write(data, temporary)
        else:
            save_npz(data, path)
        _keep_test_with_emotions(data, directory / TEST_CSV)
    return data


def _builder():
    """The module `fer_jax.data.builder`, or None where the packages it needs are missing (Windows,
    a bare machine).
    """
    try:
        from fer_jax.data import builder
    except ImportError as error:
        _note(f"{error.name or error} is not installed: keeping the prepared data as .npz")
        return None
    return builder


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Like `files.replacing`, for a folder. Of two processes that finish at once, the later one's
    is discarded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as temporary:
        yield (made := Path(temporary) / "made")
        shutil.rmtree(path, ignore_errors=True)
        try:
            made.rename(path)
        except OSError:
            if not path.exists():
                raise


def _note(text: str) -> None:
    print(f"note: {' '.join(text.split())}", file=sys.stderr)
