"""Load FER-2013 from a folder: the first start parses it, later ones read what the first prepared.

Prepared files are kept beside the source, under a name made from the hash of its content, so that a
changed source is prepared anew: data/tfds/HASH (tensorflow_datasets) or, where that is not
installed, data/prepared/HASH.npz.
"""

import shutil
from pathlib import Path

from fer_jax import files
from fer_jax.data import npz, sources
from fer_jax.data.fer2013 import Fer2013, Source, warn_if_short
from fer_jax.errors import InputError, note

TEST_CSV = "test_with_emotions.csv"


def load(directory: Path = Path("data"), *, cache: bool = True) -> Fer2013:
    """Load the data in `directory`, in whatever layout `sources.find` knows.

    With `cache`, prepared files are used if they were made from this very source, else they are
    made, and so is `test_with_emotions.csv`; a folder that cannot be written to costs a note on
    stderr. Warns (`DataWarning`) about splits that have not the published number of rows.
    InputError: no data there, or malformed ones.
    """
    directory = Path(directory)
    source = sources.find(directory)
    quick = source.files[0].name == npz.NAME
    data = source.read() if quick or not cache else _load_prepared(directory, source)
    warn_if_short(data, str(directory))
    return data


def _load_prepared(directory: Path, source: Source) -> Fer2013:
    """Read the prepared files; where none are whole, parse the source and write them."""
    key = source.digest()[:16]
    builder = _builder()
    path = directory / "tfds" / key if builder else directory / "prepared" / f"{key}.npz"
    data = None
    if path.exists():
        try:
            data = builder.read(path) if builder else npz.read(path)
        except InputError as error:
            note(f"{error}; preparing it again")
    whole = data is not None
    data = data or source.read()
    try:
        if builder and not whole:
            with files.appearing_in(path.parent) as temporary:
                builder.write(data, temporary / path.name)
                shutil.rmtree(path, ignore_errors=True)  # damaged, or made by another meanwhile
        elif not whole:
            npz.save(data, path)
        _keep_test_csv(data, directory / TEST_CSV)
    except OSError as error:  # no reason to do without what was read
        note(f"{error.filename or directory}: {error.strerror or error}: going on without it")
    return data


def _builder():
    """The module `data.builder`; None where its packages are missing (Windows, a bare machine)."""
    try:
        from fer_jax.data import builder
    except ImportError as error:
        note(f"{error.name or error} is not installed: keeping the prepared data as .npz")
        return None
    return builder


def _keep_test_csv(data: Fer2013, path: Path) -> None:
    """Write the test rows as CSV, PublicTest first; a file of the size that they give is left."""
    images = data.test.images
    digits = images.size + (images >= 10).sum() + (images >= 100).sum()
    # A space or line end after each pixel; label and comma.
    size = len("emotion,pixels\n") + digits + images.size + 2 * len(images)
    if path.is_file() and path.stat().st_size == size:
        return
    text = [str(value) for value in range(256)]
    with files.replacing(path) as temporary, temporary.open("w", newline="\n") as stream:
        stream.write("emotion,pixels\n")
        for image, label in zip(*data.test, strict=True):
            stream.write(f"{label},{' '.join(map(text.__getitem__, image.ravel().tolist()))}\n")
