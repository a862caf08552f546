"""Read FER-2013 in the layouts that its users have: Kaggle CSV files, their zip or tar.gz, image
folders, a prepared npz.

    source = find(Path("data"))
    data = source.read()
    data.train.images.shape  # (28709, 48, 48)

Nothing is repaired and nothing is guessed: a malformed row, picture or array is refused with one
`InputError` line that names the file, the row (row 1 is the first one after the header) and the
rule.
"""

import csv
import gzip
import hashlib
import io
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from fer_jax import files, labels
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.types import IMAGE_SIZE

PAGE = "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge"
ARCHIVE = "challenges-in-representation-learning-facial-expression-recognition-challenge.zip"
TAR = "fer2013.tar.gz"  # lies within the challenge's zip, and is handed around on its own
NPZ = "fer2013.npz"
# rows of the challenge's files
PUBLISHED = {"Training": 28_709, "PublicTest": 3_589, "PrivateTest": 3_589}
PUBLISHED_CLASSES = {  # the same rows by emotion, in the order of `fer_jax.labels.EMOTIONS`
    "Training": (3_995, 436, 4_097, 7_215, 4_830, 3_171, 4_965),
    "PublicTest": (467, 56, 496, 895, 653, 415, 607),
    "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
}

_PIXELS = IMAGE_SIZE * IMAGE_SIZE
_LABELLED = ("fer2013.csv", "icml_face_data.csv")  # each holds every row with its label and split
_CSV_FILES = ("train.csv", "test.csv", *_LABELLED)
# bytes out of one archive member, or of a whole tar.gz; the largest real one has 301 MB
_MAX_MEMBER = 1 << 30
_CHUNK = 1 << 16  # bytes that are unpacked at once
_MAX_MEMBERS = 1_000  # of a tar.gz; the real one has four
# kinds of tar member that no content follows, whatever size their header gives
_LINK_TO_FIFO = b"123456"
_MAX_LINE = 1 << 16  # bytes; 2,304 numbers of three digits need 9.2 kB
# lines of a file, blank ones too, or images of an array; the largest real file has 35,888
_MAX_ROWS = 100_000

Opener = Callable[[], BinaryIO]


class DataWarning(UserWarning):
    """The data can be used but are not what was published; the message is one line that names the
    file.
    """


class Split(NamedTuple):
    """images: uint8 [N, 48, 48]; labels: int32 [N] in 0..6, indices into `fer_jax.labels.EMOTIONS`."""

    images: np.ndarray
    labels: np.ndarray


class Fer2013(NamedTuple):
    """The three published splits; `digest` is the sha256 (hex) over all arrays in this order,
    shapes included.
    """

    train: Split
    public_test: Split
    private_test: Split
    digest: str

    @property
    def splits(self) -> dict[str, Split]:
        """The splits under their published names, in the published order."""
        return dict(zip(PUBLISHED, self[:3], strict=True))

    @property
    def test(self) -> Split:
        """PublicTest then PrivateTest: 7,178 rows in the published data."""
        public, private = self.public_test, self.private_test
        images, labels = (np.concatenate(pair) for pair in zip(public, private, strict=True))
        return Split(images, labels)


def bundle(train: Split, public_test: Split, private_test: Split) -> Fer2013:
    """The three splits with the digest of their arrays."""
    state = hashlib.sha256()
    for split in (train, public_test, private_test):
        state.update(f"{split.images.shape} {split.labels.shape};".encode())
        state.update(np.ascontiguousarray(split.images, "u1").data)
        state.update(np.ascontiguousarray(split.labels, "<i4").data)
    return Fer2013(train, public_test, private_test, state.hexdigest())


class Source(NamedTuple):
    """One layout in `directory`: all `files` that are read, and the function that reads them."""

    directory: Path
    files: tuple[Path, ...]
    read: Callable[[], Fer2013]

    def digest(self) -> str:
        """sha256 (hex) over names and whole contents: times and sizes alone would miss a file
        swapped for another.
        """
        state = hashlib.sha256()
        for path in self.files:  # a picture's name holds its label
            state.update(
                f"{path.relative_to(self.directory).as_posix()} {_file_digest(path)}\n".encode()
            )
        return state.hexdigest()


def _file_digest(path: Path) -> str:
    # 35,887 of them: `file_digest` clears a buffer of 256 kB for each
    if path.suffix.lower() in pictures.SMALL_SUFFIXES:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return files.digest(path)


def find(directory: Path) -> Source:
    """The data in `directory`: CSV files, else a zip of them, `fer2013.tar.gz`, image folders or
    `fer2013.npz`.

    Raw files come first, because an npz beside them was made from them once and may be out of date.

    Raises:
        InputError: no layout is complete.
    """
    directory = Path(directory)
    loose = [name for name in _CSV_FILES if (directory / name).is_file()]
    if names := _choose(loose):
        paths = [directory / name for name in names]
        return _tables(directory, paths, {str(path): _opener(path) for path in paths})
    for path in (*sorted(directory.glob("*.zip")), *directory.glob(TAR)):
        if path.is_file() and (source := archive(path)):
            return source
    if (directory / "train").is_dir() and (directory / "test").is_dir():
        return Source(directory, tuple(_pictures(directory)), lambda: _read_folders(directory))
    if (directory / NPZ).is_file():
        return Source(directory, (directory / NPZ,), lambda: read_npz(directory / NPZ))
    raise InputError(_missing(directory, loose))


def any_in(directory: Path) -> bool:
    """Whether there is something of a layout that `find` knows, be it damaged or incomplete."""
    names = [*_CSV_FILES, NPZ, TAR, "train", "test"]
    return any((directory / name).exists() for name in names) or any(directory.glob("*.zip"))


def archive(path: Path) -> Source | None:
    """The data in one zip or tar.gz, told apart by content; None where the archive holds no
    complete layout.

    Raises:
        InputError: no archive, or a damaged one.
    """
    openers = _tar_openers(str(path), _opener(path)) if is_gzip(path) else _zip_openers(path)
    return _tables(path.parent, [path], openers) if openers else None


def is_gzip(path: Path) -> bool:
    """Whether the file starts as gzip data do."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def _tables(directory: Path, paths: list[Path], openers: dict[str, Opener]) -> Source:
    return Source(directory, tuple(paths), lambda: _read_tables(openers))


def _choose(available: Iterable[str]) -> tuple[str, ...]:
    """The CSV files to read, of those available; () where they do not suffice."""
    labelled = [name for name in _LABELLED if name in available]
    if "train.csv" in available and "test.csv" in available and labelled:
        return ("train.csv", "test.csv", labelled[-1])
    return tuple(labelled[:1])


def _missing(directory: Path, loose: list[str]) -> str:
    found = (
        f" ({' and '.join(loose)} alone: the labels of the test rows are in icml_face_data.csv)"
        if loose
        else ""
    )
    return (
        f"{directory}: no FER-2013 data{found}; looked for {ARCHIVE} (or any .zip of its CSV files), "
        f"train.csv + test.csv + icml_face_data.csv, fer2013.csv, icml_face_data.csv, {TAR}, "
        f"train/happy/*.png with test/happy/*.png, and {NPZ}; "
        f"get the archive with `python scripts/download_data.py --data {directory}`, "
        f"or from {PAGE} into {directory} (see data/README.md)"
    )


def warn_if_short(data: Fer2013, name: str) -> None:
    """Issue one `DataWarning` naming both counts of each split that has not the published number of
    rows.
    """
    counts = {usage: len(split.labels) for usage, split in data.splits.items()}
    wrong = [
        f"{n:,} {usage} rows (published: {PUBLISHED[usage]:,})"
        for usage, n in counts.items()
        if n != PUBLISHED[usage]
    ]
    if wrong:
        warnings.warn(f"{name}: {', '.join(wrong)}", DataWarning, stacklevel=2)


# CSV files, loose or in a zip


class _Table(NamedTuple):
    """A CSV file's columns; a column that the file does not have is empty."""

    images: np.ndarray  # uint8 [N, 48, 48]
    labels: np.ndarray  # int32 [N]
    usages: np.ndarray  # str [N], keys of PUBLISHED

    def split(self, usage: str) -> Split:
        rows = self.usages == usage
        return Split(self.images[rows], self.labels[rows])


def _read_tables(openers: Mapping[str, Opener]) -> Fer2013:
    """Read one labelled file, or train.csv, test.csv and the labelled file that gives the test rows
    their labels.
    """
    *challenge, labelled = openers
    table = _read_csv(labelled, openers[labelled], ("emotion", "pixels", "Usage"))
    if challenge:
        train_name, test_name = challenge
        test = _read_csv(test_name, openers[test_name], ("pixels",))
        table = _label_test(test_name, test, labelled, table)
        train = _read_csv(train_name, openers[train_name], ("emotion", "pixels"))
        return bundle(
            Split(train.images, train.labels), table.split("PublicTest"), table.split("PrivateTest")
        )
    return bundle(*(table.split(usage) for usage in PUBLISHED))


def _label_test(name: str, test: _Table, labelled: str, table: _Table) -> _Table:
    """The labelled test rows, once each row of `test` is known to have the same pixels, in the same
    order.
    """
    rows = np.flatnonzero(table.usages != "Training")
    n = len(test.images)
    if n > len(rows):
        raise InputError(
            f"{name}:{len(rows) + 1}: {labelled} must label each row, it has {len(rows)} test rows for {n}"
        )
    rows = rows[:n]
    differs = (test.images != table.images[rows]).any(axis=(1, 2))
    if differs.any():
        first = int(differs.argmax())
        raise InputError(
            f"{name}:{first + 1}: pixels must equal those of row {rows[first] + 1} of {labelled}, they differ"
        )
    return _Table(test.images, table.labels[rows], table.usages[rows])


def _read_csv(name: str, opener: Opener, columns: tuple[str, ...]) -> _Table:
    """Parse the named columns, strictly; columns beyond these are ignored."""
    pixels, emotions, usages = [], [], []
    with opener() as stream:
        rows = _csv_rows(name, stream)
        header = [column.strip() for column in next(rows, [])]
        if missing := [column for column in columns if header.count(column) != 1]:
            raise InputError(
                f"{name}: the header must name the column {missing[0]!r} once, received {short(','.join(header))}"
            )
        places = [header.index(column) for column in columns]
        for row, fields in enumerate(
            tqdm(rows, desc=name, unit=" rows", leave=False, disable=None), start=1
        ):
            where = f"{name}:{row}"
            if len(fields) != len(header):
                raise InputError(
                    f"{where}: a row must have {len(header)} columns, received {len(fields)}"
                )
            cells = dict(zip(columns, (fields[place] for place in places), strict=True))
            pixels.append(_parse_pixels(where, cells["pixels"]))
            emotions.append(_parse_emotion(where, cells.get("emotion", "0")))
            usages.append(_parse_usage(where, cells.get("Usage", "Training")))
    if not pixels:
        raise InputError(f"{name}: must have rows after its header, received none")
    images = np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    return _Table(images, np.array(emotions, np.int32), np.array(usages))


def _csv_rows(name: str, stream: BinaryIO) -> Iterator[list[str]]:
    """The fields of each line that is not blank."""
    reader = csv.reader(_lines(name, stream), strict=True)
    try:
        yield from filter(None, reader)
    except csv.Error as error:
        raise InputError(f"{name}: line {reader.line_num}: must be a CSV row: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name}: line {reader.line_num + 1}: must be UTF-8 text: {error.reason}"
        ) from error


def _lines(name: str, stream: BinaryIO) -> Iterator[str]:
    """Decoded lines; a file without line breaks is refused before all of it is in memory."""
    # a spreadsheet program may have put a byte-order mark before the first line
    encoding = "utf-8-sig"
    for number, line in enumerate(iter(lambda: stream.readline(_MAX_LINE), b""), start=1):
        if len(line) == _MAX_LINE:
            raise InputError(
                f"{name}: line {number}: must have less than {_MAX_LINE} bytes; this is no FER-2013 file"
            )
        if number > _MAX_ROWS:  # a small archive may hold a gigabyte of line breaks
            raise InputError(
                f"{name}: must have at most {_MAX_ROWS} lines, has more; this is no FER-2013 file"
            )
        yield line.decode(encoding)
        encoding = "utf-8"
        if line[-1:].isdigit():  # the last line, which has been parsed by now
            message = f"{name}: line {number} has no line break: if the file was cut there, its last pixel is wrong"
            warnings.warn(message, DataWarning, stacklevel=2)


def _parse_pixels(where: str, cell: str) -> bytes:
    text = cell.encode()
    # so that NumPy's lenient parser sees nothing but digits and spaces
    if not text.translate(None, b"0123456789 "):
        numbers = np.fromstring(text, np.int64, sep=" ")
        if len(numbers) == _PIXELS and numbers.max() <= 255:
            return numbers.astype(np.uint8).tobytes()
    raise InputError(f"{where}: {_pixel_rule(cell)}")


def _pixel_rule(cell: str) -> str:
    """The rule that a malformed cell breaks, and the value that breaks it."""
    tokens = cell.split()
    for place, token in enumerate(tokens, start=1):
        if not (token.isascii() and token.isdigit() and int(token[:4]) <= 255):
            return f"pixels must be integers from 0 to 255, pixel {place} is {short(token)}"
    if len(tokens) != _PIXELS:
        return f"a row must have {_PIXELS} pixels, received {len(tokens)} (is the file cut?)"
    return f"pixels must be separated by spaces, received {short(cell)}"


def _parse_emotion(where: str, cell: str) -> int:
    if cell.strip() in {"0", "1", "2", "3", "4", "5", "6"}:
        return int(cell)
    raise InputError(f"{where}: emotion must be an integer from 0 to 6, received {short(cell)}")


def _parse_usage(where: str, cell: str) -> str:
    if (usage := cell.strip()) in PUBLISHED:
        return usage
    raise InputError(
        f"{where}: Usage must be one of {', '.join(PUBLISHED)}, received {short(cell)}"
    )


def short(text: str) -> str:
    """Quoted on one line, shortened: a cell may be kilobytes of anything."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


# The zip archive


def _zip_openers(path: Path) -> dict[str, Opener]:
    """The CSV files to read, in whatever folder of the archive, else that of its `fer2013.tar.gz`;
    {} without any.
    """
    members = _zip_members(path)
    openers = {
        name: (_member_name(path, info), _opener(path, info)) for name, info in members.items()
    }
    if names := _choose(members):
        return dict(openers[name] for name in names)
    return _tar_openers(*openers[TAR]) if TAR in openers else {}


def _zip_members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's members by name without folder; of equal names, the one with the shortest path."""
    with _zip_errors(path), zipfile.ZipFile(path) as archive:
        infos = sorted(archive.infolist(), key=lambda info: len(info.filename), reverse=True)
    return {info.filename.rsplit("/", 1)[-1]: info for info in infos}


def _member_name(path: Path, member: zipfile.ZipInfo) -> str:
    """A member's name for messages: the end of it, since a stranger's archive may use 64 kB."""
    return f"{path}/{''.join(c if c.isprintable() else '?' for c in member.filename[-200:])}"


def _opener(path: Path, member: zipfile.ZipInfo | None = None) -> Opener:
    """What opens a CSV file, or a zip's member, for reading bytes."""
    return lambda: path.open("rb") if member is None else io.BufferedReader(_Member(path, member))


class _Member(io.RawIOBase):
    """A zip member as a stream that gives up after `_MAX_MEMBER` bytes, whatever size the archive
    claims.
    """

    def __init__(self, path: Path, member: zipfile.ZipInfo):
        self._path, self._left = path, _MAX_MEMBER
        self._where = _member_name(path, member)
        if member.file_size > _MAX_MEMBER:
            raise InputError(
                f"{self._where}: must have at most {_MAX_MEMBER} bytes, claims {member.file_size}"
            )
        # others are not unpacked in bounds
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(
                f"{self._where}: must be stored or deflated, received zip method {member.compress_type}"
            )
        with _zip_errors(path):
            self._archive = zipfile.ZipFile(path)
            self._stream = self._archive.open(member)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        with _zip_errors(self._path):
            data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise InputError(f"{self._where}: must have at most {_MAX_MEMBER} bytes, holds more")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._archive.close()
        super().close()


@contextmanager
def _zip_errors(path: Path) -> Iterator[None]:
    """What zipfile raises for a damaged, encrypted (RuntimeError), misnamed (Unicode) or exotic
    archive, as `InputError`.
    """
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        EOFError,
        OSError,
        UnicodeDecodeError,
    ) as error:
        if isinstance(error, OSError) and error.filename is not None:
            # not about the content; without a name, it is a seek to where the archive's directory
            # lies
            raise
        raise InputError(
            f"{path}: must be a whole, unencrypted zip archive: {str(error)[:200]}"
        ) from error


# The tar.gz archive, loose or in the zip


def _tar_openers(name: str, opener: Opener) -> dict[str, Opener]:
    """The CSV file to read, in whatever folder of the tar.gz; {} where there is none with all rows
    and labels.
    """
    with _TarMember(name, opener) as member:
        table = member.table
    return (
        {f"{name}/{table}": lambda: io.BufferedReader(_TarMember(name, opener), _CHUNK)}
        if table
        else {}
    )


class _TarMember(io.RawIOBase):
    """The first labelled CSV file in a tar.gz as a stream, which gives up once `_MAX_MEMBER` bytes
    are unpacked.

    Members are recognised by name, never written anywhere, and links are not followed. Headers are
    walked by hand, because `tarfile` takes names of any length into memory, and may walk in circles
    where a size is negative (CVE-2025-8194).
    """

    def __init__(self, name: str, opener: Opener):
        self._name, self._left = name, _MAX_MEMBER
        self._packed = opener()
        self._unpacked = gzip.GzipFile(fileobj=self._packed)
        try:
            self.table, self._size = self._walk()
        except BaseException:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        if not self._size:
            self._skip(self._left + 1)  # to the end, where the checksum is compared
            return 0
        data = self._take(min(len(buffer), self._size))
        if not data:
            raise InputError(
                f"{self._name}/{self.table}: must have {self._size} more bytes, the archive ends"
            )
        self._size -= len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._unpacked.close()
            self._packed.close()
        super().close()

    def _walk(self) -> tuple[str, int]:
        """Go to the first labelled CSV file: its name without folder, and its size; ("", 0) where
        there is none.
        """
        for _ in range(_MAX_MEMBERS):
            header = self._take(tarfile.BLOCKSIZE)
            if not any(header):  # a block of zeros ends the archive
                return "", 0
            with _tar_errors(self._name):
                info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if not 0 <= info.size <= self._left:
                raise InputError(
                    f"{self._name}: must unpack to at most {_MAX_MEMBER} bytes, a member claims {info.size}"
                )
            table = info.name.rsplit("/", 1)[-1]
            if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and table in _LABELLED:
                return table, info.size
            if info.type not in _LINK_TO_FIFO:
                self._skip(-(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
        raise InputError(
            f"{self._name}: must hold {' or '.join(_LABELLED)} among its first {_MAX_MEMBERS} members"
        )

    def _skip(self, size: int) -> None:
        while size > 0 and (data := self._take(min(size, _CHUNK))):
            size -= len(data)

    def _take(self, size: int) -> bytes:
        """The next bytes of the unpacked archive, fewer than `size` only at its end."""
        with _tar_errors(self._name):
            data = self._unpacked.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InputError(
                f"{self._name}: must unpack to at most {_MAX_MEMBER} bytes, holds more"
            )
        return data


@contextmanager
def _tar_errors(name: str) -> Iterator[None]:
    """What a damaged gzip stream or tar header raises, as `InputError`."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.TarError) as error:
        raise InputError(f"{name}: must be a whole tar.gz archive: {error}") from error


# Image folders


def _pictures(directory: Path) -> list[Path]:
    """Every picture under train/EMOTION and test/EMOTION; other files (.DS_Store, Thumbs.db) are no
    business of ours.

    Ordered by the numbers in the file name, which restores the CSV order where a name holds the row
    number.
    """
    folders = [
        folder
        for part in ("train", "test")
        for folder in (directory / part).iterdir()
        if folder.is_dir()
    ]
    for folder in folders:
        emotion_of(folder)
    paths = (
        path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix.lower() in pictures.SMALL_SUFFIXES
    )
    return sorted(paths, key=in_file_order)


def in_file_order(path: Path) -> tuple[list[str], str]:
    """A key to sort pictures by the numbers in their names, then by their folders."""
    return [part.zfill(12) for part in re.split(r"(\d+)", path.name)], path.parent.name


def emotion_of(folder: Path) -> int:
    """The emotion, 0 to 6, that a folder of pictures is named after.

    Raises:
        InputError: none is.
    """
    try:
        return labels.index(folder.name)
    except InputError as error:
        raise InputError(
            f"{folder}: a folder of pictures must be named after its emotion: {error}"
        ) from None


def _read_folders(directory: Path) -> Fer2013:
    """train/EMOTION/* and test/EMOTION/*, PNG or JPEG, each 48x48 and grey.

    PublicTest and PrivateTest are told apart by the file names (`PublicTest_123.jpg`). Where no
    name tells, every second picture of each emotion goes to PublicTest, with a warning: these
    halves are not the published ones.
    """
    paths = _pictures(directory)
    train = [path for path in paths if path.parent.parent.name == "train"]
    test = [path for path in paths if path.parent.parent.name == "test"]
    public = _public_half(directory, test)
    private = [path for path, is_public in zip(test, public, strict=True) if not is_public]
    public = [path for path, is_public in zip(test, public, strict=True) if is_public]
    return bundle(*(_read_pictures(part) for part in (train, public, private)))


def _public_half(directory: Path, paths: list[Path]) -> list[bool]:
    public = [path.name.startswith("PublicTest") for path in paths]
    named = [
        told or path.name.startswith("PrivateTest")
        for told, path in zip(public, paths, strict=True)
    ]
    if all(named):
        return public
    if any(named):
        odd = paths[named.index(False)]
        raise InputError(
            f"{odd}: the name must start with PublicTest or PrivateTest, as those of other test pictures do"
        )
    folder = directory / "test"
    message = f"{folder}: file names do not tell PublicTest from PrivateTest; split evenly, not as published"
    warnings.warn(message, DataWarning, stacklevel=2)
    seen: dict[str, int] = {}
    for place, path in enumerate(paths):
        seen[path.parent.name] = seen.get(path.parent.name, 0) + 1
        public[place] = seen[path.parent.name] % 2 == 1
    return public


def _read_pictures(paths: list[Path]) -> Split:
    images = [
        _read_picture(path) for path in tqdm(paths, desc="pictures", leave=False, disable=None)
    ]
    emotions = [emotion_of(path.parent) for path in paths]
    return Split(
        np.array(images, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE), np.array(emotions, np.int32)
    )


def _read_picture(path: Path) -> np.ndarray:
    image = pictures.decode_small(path)
    if image.ndim != 2:
        raise InputError(f"{path}: a picture must be 48x48 and 8-bit grey, it has colour")
    return image


# The prepared npz


def npz_arrays(data: Fer2013) -> dict[str, np.ndarray]:
    """The arrays of a prepared npz: train_images, train_labels, public_test_images, ..."""
    splits = zip(Fer2013._fields[:3], data.splits.values(), strict=True)
    return {
        f"{name}_{field}": array
        for name, split in splits
        for field, array in split._asdict().items()
    }


def read_npz(path: Path) -> Fer2013:
    """Read what `fer_jax.data.prepare.save_npz` wrote; dtype and shape are checked before anything
    is allocated.

    Raises:
        InputError: the file is damaged, or an array is missing or not what it must be.
    """
    try:
        with _zip_errors(path), zipfile.ZipFile(path) as archive:
            splits = [_npz_split(path, archive, name) for name in Fer2013._fields[:3]]
    except InputError:
        raise
    # an array header that NumPy does not understand: the errors of its parser are many
    except Exception as error:
        reason = f"{str(error) or type(error).__name__}".splitlines()[0][:200]
        raise InputError(f"{path}: must be a prepared npz: {reason}") from error
    return bundle(*splits)


def _npz_split(path: Path, archive: zipfile.ZipFile, name: str) -> Split:
    images = _npz_array(path, archive, f"{name}_images", np.uint8, (IMAGE_SIZE, IMAGE_SIZE))
    emotions = _npz_array(path, archive, f"{name}_labels", np.int32, ())
    if len(images) != len(emotions):
        raise InputError(
            f"{path}: {name} must have one label per image, received {len(emotions)} for {len(images)}"
        )
    if len(emotions) and not (emotions.min() >= 0 and emotions.max() < labels.NUM_CLASSES):
        raise InputError(
            f"{path}: {name}_labels must be 0 to 6, received {emotions.min()} to {emotions.max()}"
        )
    return Split(images, emotions)


def _npz_array(
    path: Path, archive: zipfile.ZipFile, key: str, dtype: type, item: tuple[int, ...]
) -> np.ndarray:
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        raise InputError(f"{path}: must hold the array {key}, it does not") from None
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise InputError(
                f"{path}: {key} must be in version 1.0 of the npy format, received {version}"
            )
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream)
        size = info.file_size - stream.tell()
        rule = found == dtype and shape[1:] == item and len(shape) == 1 + len(item) and not fortran
        if (
            not rule
            or shape[0] > _MAX_ROWS
            or size != np.prod(shape, dtype=object) * found.itemsize
        ):
            wanted = f"{np.dtype(dtype)} [N{''.join(f', {n}' for n in item)}]"
            received = f"{str(found)[:80]} of shape {str(shape)[:80]} in {size} bytes"
            raise InputError(f"{path}: {key} must be {wanted}, received {received}")
        return np.frombuffer(stream.read(size), found).reshape(shape)
