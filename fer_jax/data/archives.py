"""Read FER-2013's CSV files out of a zip or a tar.gz, which may be damaged or made to harm.

Nothing is unpacked to disk, and never more than `MAX_UNPACKED` bytes.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fer_jax.data import tables
from fer_jax.data.fer2013 import CHALLENGE, Reader, Source
from fer_jax.errors import InputError

ARCHIVE = f"{CHALLENGE}.zip"
TAR = "fer2013.tar.gz"  # lies within the challenge's zip, and is handed around on its own
# Bytes out of one zip member, or of a whole tar.gz; the largest real one has 301 MB.
MAX_UNPACKED = 1 << 30

_MAX_MEMBERS = 1_000  # of a tar.gz; the real one has four
_WITHOUT_CONTENT = b"123456"  # kinds of tar member, from link to FIFO, whatever size they claim
_CHUNK = 1 << 16  # bytes that are unpacked at once
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, UnicodeDecodeError)


def find(directory: Path) -> Source | None:
    """Return the source of the first archive in `directory` that holds FER-2013, zips first."""
    for path in (*sorted(directory.glob("*.zip")), *directory.glob(TAR)):
        if path.is_file() and (found := source(path)):
            return found
    return None


def source(path: Path) -> Source | None:
    """Return the source in a zip or tar.gz, None where it holds none; InputError: it is damaged."""
    if is_gzip(path):
        openers = _tar_table(str(path), partial(path.open, "rb"))
    else:
        openers = _zip_tables(path)
    return Source(path.parent, (path,), partial(tables.read, openers)) if openers else None


def is_gzip(path: Path) -> bool:
    """Return whether the file starts as gzip data do."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


# zip


def _zip_tables(path: Path) -> dict[str, tables.Opener]:
    """The CSV files to read, from any folder of the archive, else that of its `fer2013.tar.gz`."""
    with zip_errors(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    members.sort(key=lambda member: len(member.filename), reverse=True)
    # Of equal names, the one in the shortest path remains.
    by_name = {member.filename.rsplit("/", 1)[-1]: member for member in members}
    openers = {}
    for name in tables.choose(by_name) or {TAR} & by_name.keys():
        # For messages the end of a member's name: a stranger's archive may use 64 kB.
        end = by_name[name].filename[-200:]
        where = f"{path}/{''.join(c if c.isprintable() else '?' for c in end)}"
        openers[where] = partial(_unzipped, path, where, by_name[name])
        if name == TAR:
            return _tar_table(where, openers[where])
    return openers


@contextmanager
def _unzipped(path: Path, where: str, member: zipfile.ZipInfo) -> Iterator[Any]:
    if member.file_size > MAX_UNPACKED:  # zipfile gives no more than the archive claims
        rule = f"must have at most {MAX_UNPACKED} bytes"
        raise InputError(f"{where}: {rule}, claims {member.file_size}")
    # Other methods are not unpacked within bounds.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        received = f"received zip method {member.compress_type}"
        raise InputError(f"{where}: must be stored or deflated, {received}")
    with zip_errors(path), zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        raw: Any = stream
        yield io.BufferedReader(raw, _CHUNK)  # reads ahead: damage is met before odd lines are


@contextmanager
def zip_errors(path: Path) -> Iterator[None]:
    """Turn what zipfile raises for a damaged, encrypted or exotic archive into an `InputError`."""
    try:
        yield
    # RuntimeError: encrypted. UnicodeDecodeError: a name that is not what its flag says. OSError
    # without a file's name: a seek to where the archive's directory claims to lie.
    except (*_ZIP_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        rule = f"must be a whole, unencrypted zip archive: {str(error)[:200]}"
        raise InputError(f"{path}: {rule}") from error


# tar.gz, loose or in the zip


def _tar_table(name: str, opener: tables.Opener) -> dict[str, tables.Opener]:
    """The CSV file to read, from any folder of the tar.gz; {} where none has all labels."""
    with opener() as packed:
        table = _Tar(name, packed).table
    return {f"{name}/{table}": partial(_untarred, name, opener)} if table else {}


@contextmanager
def _untarred(name: str, opener: tables.Opener) -> Iterator[BinaryIO]:
    with opener() as packed:
        yield io.BufferedReader(_Tar(name, packed), _CHUNK)


class _Tar(io.RawIOBase):
    """The first labelled CSV file in a tar.gz, of which at most `MAX_UNPACKED` bytes are unpacked.

    Headers are walked by hand, because `tarfile` takes names of any length into memory, and may
    walk in circles where a size is negative (CVE-2025-8194).
    """

    def __init__(self, name: str, packed: BinaryIO):
        self._left = MAX_UNPACKED
        self._name, self._stream = name, gzip.GzipFile(fileobj=packed)
        self.table, self._size = self._walk()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._take(min(len(buffer), self._size))
        self._size -= len(data)
        if self._size and not data:
            rule = f"must have {self._size} more bytes, the archive ends"
            raise InputError(f"{self._name}/{self.table}: {rule}")
        if not self._size:
            self._skip(self._left + 1)  # to the end, where the checksum is compared
        buffer[: len(data)] = data
        return len(data)

    def _walk(self) -> tuple[str, int]:
        """The file's name without folder and its size; ("", 0) where there is none, links aside."""
        for _ in range(_MAX_MEMBERS):
            header = self._take(tarfile.BLOCKSIZE)
            if not any(header):  # a block of zeros ends the archive
                return "", 0
            with _tar_errors(self._name):
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if not 0 <= info.size <= self._left:
                rule = f"must unpack to at most {MAX_UNPACKED} bytes"
                raise InputError(f"{self._name}: {rule}, a member claims {info.size}")
            table = info.name.rsplit("/", 1)[-1]
            if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and table in tables.LABELLED:
                return table, info.size
            if info.type not in _WITHOUT_CONTENT:
                self._skip(-(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        rule = f"must hold {' or '.join(tables.LABELLED)} among its first {_MAX_MEMBERS} members"
        raise InputError(f"{self._name}: {rule}")

    def _skip(self, size: int) -> None:
        while size > 0 and (data := self._take(min(size, _CHUNK))):
            size -= len(data)

    def _take(self, size: int) -> bytes:
        """The next `size` bytes, fewer only where the archive ends."""
        with _tar_errors(self._name):
            data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            rule = f"must unpack to at most {MAX_UNPACKED} bytes, holds more"
            raise InputError(f"{self._name}: {rule}")
        return data


@contextmanager
def _tar_errors(name: str) -> Iterator[None]:
    """Turn what a damaged gzip stream or tar header raises into an `InputError`."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.TarError) as error:
        raise InputError(f"{name}: must be a whole tar.gz archive: {error}") from error


READER = Reader(find, ("*.zip", TAR), f"{ARCHIVE} (or any .zip of its CSV files), {TAR}")
