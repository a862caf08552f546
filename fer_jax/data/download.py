"""Install the challenge's archive; nothing is installed before its content is known.

path = fetch(URL, Path("data"))  # data/challenges-in-...zip, 28,709 + 3,589 + 3,589 faces
"""

import shutil
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from fer_jax import files
from fer_jax.data import archives, sources, transfer
from fer_jax.data.fer2013 import PUBLISHED, PUBLISHED_CLASSES
from fer_jax.errors import InputError, note
from fer_jax.labels import EMOTIONS

URL = f"https://assets.01-edu.org/ai-branch/project3/{archives.ARCHIVE}"

Counts = Mapping[str, tuple[int, ...]]  # rows of each emotion, by split


def main(origin: str, directory: Path) -> None:
    """Fetch the archive, and print what is installed; a note names what is read in its place."""
    path = fetch(origin, directory)
    rows = " + ".join(f"{n:,} {usage}" for usage, n in PUBLISHED.items())
    print(f"{path}: {rows} rows, each class as published")
    first = sources.find(directory).files[0]
    if first != path:
        note(f"{first} is there too, and is read instead")


def fetch(
    origin: str,
    directory: Path,
    *,
    published: Counts = PUBLISHED_CLASSES,
    timeout: float = 30,
    sleep: Callable[[float], object] = time.sleep,
) -> Path:
    """Install the archive at `origin` in `directory`, once it is known to hold what was published.

    InputError: nothing there, something else, or a connection that keeps breaking (what has arrived
    is kept).

    Args:
        origin: a file's path, or a file://, http:// or https:// URL.
        directory: where it goes, as the challenge's zip or as `fer2013.tar.gz`, whichever it is; a
            good one that is there already is left.
        published: what the archive must hold.
        timeout: seconds that the server may be silent.
        sleep: waits between two tries.
    """
    local = _local(origin)
    if installed := _installed(directory, published):
        return installed
    directory.mkdir(parents=True, exist_ok=True)
    if local:
        return _copy(local, directory / check(local, published))
    part = transfer.Part(directory / f"{archives.ARCHIVE}.part")
    transfer.download(origin, part, timeout, sleep)
    try:
        target = directory / check(part.path, published)
    except InputError as error:
        part.discard()
        raise InputError(f"{origin}{str(error).removeprefix(str(part.path))}") from None
    part.path.replace(target)
    part.discard()
    return target


def check(path: Path, published: Counts = PUBLISHED_CLASSES) -> str:
    """Read a whole archive, compare its class counts, and return the name to install it under.

    InputError: it is damaged or not FER-2013, or names a count that is not the published one.
    """
    source = archives.source(path)
    if source is None:
        names = f"train.csv, test.csv and icml_face_data.csv, or {archives.TAR}"
        raise InputError(f"{path}: must hold {names}; it does not")
    for usage, split in source.read().splits.items():
        whole = sum(published[usage])
        if len(split.labels) != whole:
            received = f"{len(split.labels):,}"
            raise InputError(f"{path}: must have {whole:,} {usage} rows, received {received}")
        counts = np.bincount(split.labels, minlength=len(EMOTIONS))
        for emotion, count, wanted in zip(EMOTIONS, counts, published[usage], strict=True):
            if count != wanted:
                rule = f"must have {wanted:,} {usage} rows of {emotion}"
                raise InputError(f"{path}: {rule}, received {count:,}")
    return archives.TAR if archives.is_gzip(path) else archives.ARCHIVE


def _local(origin: str) -> Path | None:
    """The file that `origin` names; None for an address on the web."""
    path = Path(origin)
    if "://" in origin:
        try:
            url = urlsplit(origin)
        except ValueError as error:
            raise InputError(f"{origin!r}: must be a URL: {error}") from None
        if url.scheme in ("http", "https") and url.netloc:
            return None
        if url.scheme != "file" or url.netloc not in ("", "localhost"):
            raise InputError(f"{origin!r}: must be a file, or a file://, http:// or https:// URL")
        path = Path(urllib.request.url2pathname(url.path))
    if not path.is_file():
        raise InputError(f"{path}: must be an archive, there is no such file")
    return path


def _installed(directory: Path, published: Counts) -> Path | None:
    """The good archive of an earlier run."""
    for path in (directory / archives.ARCHIVE, directory / archives.TAR):
        if path.is_file():
            try:
                check(path, published)
            except InputError as error:
                note(f"{error}; fetching it again")
            else:
                note(f"{path} is there already")
                return path
    return None


def _copy(local: Path, target: Path) -> Path:
    # A name that no data have, should the machine stop.
    temporary = target.with_name(f"{target.name}.copy")
    files.require_space(target.parent, local.stat().st_size)
    try:
        shutil.copyfile(local, temporary)
        return temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
