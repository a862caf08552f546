"""FER-2013 as CSV files, zip and tar archives and npz, and FER+'s votes, with all that is wrong.

What a stranger or a broken disk can do to them.
"""

import functools
import gzip
import io
import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from random import Random

import numpy as np
from mutate import CANARY, INTEGERS, Files, mutate, patched

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED

_PIXELS = 48 * 48
_HEADERS = {
    "train.csv": "emotion,pixels",
    "test.csv": "pixels",
    "icml_face_data.csv": "emotion, Usage, pixels",
    "fer2013.csv": "emotion,pixels,Usage",
}
_CHALLENGE = ("train.csv", "test.csv", "icml_face_data.csv")
_VOTED = [
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
]
# emotion, usage
_ROWS = (("3", "Training"), ("0", "Training"), ("6", "PublicTest"), ("1", "PrivateTest"))
_CELLS = ("", " ", "7", "-1", "1.0", "happy", "Training", "training", '"', '"a""b"', "\0", "\n")
_CELLS += ("\r\n", "\ud7ff", "٣", "=1+1", "0", " 3 ", "3\n", "9" * 5000, "x" * 70_000)
_CELLS += ("a," * 500, '"' + "\n" * 300 + '"', "\x1b[31m", "\u2028")
_TOKENS = ("", "256", "-1", "+1", "1.5", "1e3", "nan", "0x1", "٣", "\t", "\0", "007")
_TOKENS += ("9" * 30, "9" * 6000)


# CSV


def csv_files(random: Random) -> Files:
    """Return CSV files of one of the layouts, of which one is odd, damaged or large."""
    alone = (("fer2013.csv",), ("icml_face_data.csv",))
    names = random.choice((_CHALLENGE, *alone, ("train.csv", "test.csv", "fer2013.csv")))
    victim = random.choice(names)
    odd = random.choice((_odd_csv, _odd_csv, _damaged_csv, _large_csv))(random, victim)
    return {name: csv_of(name) for name in names} | {victim: odd}


def votes_files(random: Random) -> Files:
    """Return FER+'s fer2013new.csv for the four rows of `_ROWS`."""
    rows = [["Usage", "Image name", *_VOTED]]
    rows += [[usage, "fer0000001.png", *"4001320000"] for _, usage in _ROWS]
    for _ in range(random.randint(0, 2)):
        row = random.choice(rows)
        row[random.randrange(len(row))] = random.choice((*_CELLS, *_TOKENS))
    if random.random() < 0.2:
        random.choice(rows).extend(random.choice(([""], ["NF"], ["a"] * 60_000)))
    text = "\n".join(",".join(row) for row in rows)
    data = text.encode() + random.choice((b"\n", b"\n", b"", b"\n" * 10**5))
    return {"fer2013new.csv": mutate(random, data) if random.random() < 0.3 else data}


@functools.cache
def csv_of(name: str) -> bytes:
    """Return the file of that name, well formed, with the rows that belong there."""
    return "\n".join([_HEADERS[name], *(",".join(cells) for cells in _cells(name)), ""]).encode()


def _cells(name: str) -> list[list[str]]:
    left_out = {"train.csv": ("PublicTest", "PrivateTest"), "test.csv": ("Training",)}
    columns = [column.strip() for column in _HEADERS[name].split(",")]
    rows = []
    for k, (emotion, usage) in enumerate(_ROWS):
        cells = {"emotion": emotion, "Usage": usage, "pixels": " ".join([str(40 * k)] * _PIXELS)}
        if usage not in left_out.get(name, ()):
            rows.append([cells[column] for column in columns])
    return rows


def _odd_csv(random: Random, name: str) -> bytes:
    """Well-formed but for a few cells, its header or its dress."""
    rows = [_HEADERS[name].split(","), *_cells(name)]
    for _ in range(random.randint(0, 2)):
        row = random.choice(rows)
        cells = (_odd_pixels(random), random.choice(_CELLS))
        row[random.randrange(len(row))] = random.choice(cells)
    if random.random() < 0.2:
        random.choice(rows).append(random.choice(_CELLS))
    end = random.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(",".join(row) for row in rows) + random.choice((end, end, ""))
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-16"))
    return random.choice((b"", b"", b"\xef\xbb\xbf")) + text.encode(encoding)


def _odd_pixels(random: Random) -> str:
    tokens = ["7"] * (_PIXELS + random.choice((0, 0, -1, 1, 50, -2000)))
    for _ in range(random.randint(0, 2)):
        tokens[random.randrange(len(tokens))] = random.choice(_TOKENS)
    return random.choice((" ", " ", "  ", ";")).join(tokens)


def _damaged_csv(random: Random, name: str) -> bytes:
    return mutate(random, csv_of(name))


def _large_csv(random: Random, name: str) -> bytes:
    """Much of something that costs a reader time or memory."""
    fillers = (b"\n", b"\r\n", b" ", b"0", b"0,", b'"', b'"\n', b"\0", b'"",\n')
    filler = random.choice((*fillers, b"," * 60_000 + b"\n"))
    start = random.choice((_HEADERS[name].encode() + b"\n", csv_of(name)))
    return start + filler * (random.choice((10**5, 10**6)) // len(filler))


# zip


def zip_files(random: Random) -> Files:
    """Return an archive of the challenge's files with odd members, or one whose directory lies."""
    if random.random() < 0.02:
        return {"archive.zip": _tampered(random, zip_bomb(random.choice((b"\n", b"0", b'"",\n'))))}
    folders = ("", "a/b/", "fer2013/")
    members = [(random.choice(folders) + name, csv_of(name)) for name in _CHALLENGE]
    for _ in range(random.choice((0, 0, 1, 2))):
        at = random.randrange(len(members))
        content = random.choice((_odd_csv, _damaged_csv, lambda *_: b""))
        data = content(random, random.choice(_CHALLENGE))
        members[at] = (random.choice((members[at][0], _odd_name(random))), data)
    if random.random() < 0.2:
        members.append(random.choice(members))
    methods = (*[STORED] * 3, *[DEFLATED] * 6, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    return {"archive.zip": _tampered(random, zip_of(members, random.choice(methods)))}


def zip_of(members: list[tuple[str, bytes]], method: int = STORED) -> bytes:
    """Return an archive of members (name, content); names may repeat."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # about names that repeat
        for name, data in members:
            archive.writestr(name, data, method)
    return stream.getvalue()


@functools.cache
def zip_bomb(filler: bytes) -> bytes:
    """Return an archive with 64 MB behind a good header, a thousandth of that in the file."""
    members = {name: csv_of(name) for name in _CHALLENGE}
    members["train.csv"] += filler * (2**26 // len(filler))
    return zip_of(list(members.items()), DEFLATED)


def _odd_name(random: Random) -> str:
    folders = ("../../", "/etc/", "C:\\", "a\nb/", "\x1b[2J/", "d/" * 30_000)
    return random.choice((random.choice(folders) + random.choice(_CHALLENGE), "/", ".", "é.csv"))


def _tampered(random: Random, data: bytes) -> bytes:
    """An archive as it is, damaged anywhere, or with one entry of its directory that lies."""
    entry = random.choice([match.start() for match in re.finditer(b"PK(\1\2|\3\4)", data)] or [0])
    shift = 0 if data.startswith(b"PK\3\4", entry) else 2
    kind = random.choice(("no", "no", "flags", "method", "field", "field", "bytes", "bytes"))
    if kind == "flags":
        return patched(data, entry + 6 + shift, struct.pack("<H", 1 << random.randrange(16)))
    if kind == "method":
        method = random.choice((0, 8, 9, 12, 14, 93, 95, 99, 65535))
        return patched(data, entry + 8 + shift, struct.pack("<H", method))
    if kind == "field":  # checksum, sizes, lengths of name and extra field, offset
        field = random.choice((14, 18, 22, 26, 40)) + shift
        return patched(data, entry + field, struct.pack("<I", random.choice(INTEGERS) % 2**32))
    return mutate(random, data) if kind == "bytes" else data


# tar.gz


def tar_files(random: Random) -> Files:
    """Return fer2013.tar.gz, alone or within a zip."""
    if random.random() < 0.02:
        return {"fer2013.tar.gz": _tar_bomb()}
    maker = random.choice((lambda *_: csv_of("fer2013.csv"), _odd_csv, _damaged_csv))
    table = maker(random, "fer2013.csv")
    members = (("fer2013/README", b"x" * 700), ("fer2013/fer2013.csv", table))
    # Regular, links, folder, long name, extended, sparse.
    kinds = (*[b"0"] * 9, b"1", b"2", b"5", b"L", b"x", b"S")
    parts = [_tar_member(name, data, random.choice(kinds)) for name, data in members]
    tar = b"".join(parts) + bytes(1024)
    if random.random() < 0.3:
        header, field = random.choice((0, 1536)), random.choice((100, 124, 148, 156, 257))
        values = (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777", b"\0" * 8, b"-1")
        tar = _with_checksum(patched(tar, header + field, random.choice(values)), header)
    if random.random() < 0.2:
        tar = mutate(random, tar)
    packed = gzip.compress(tar, 1, mtime=0)
    if random.random() < 0.3:
        packed = mutate(random, packed)
    nested = {"a.zip": zip_of([("b/fer2013.tar.gz", packed)], DEFLATED)}
    return random.choice(({"fer2013.tar.gz": packed}, nested))


def _tar_member(name: str, data: bytes, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def _with_checksum(tar: bytes, at: int) -> bytes:
    """The header at `at` with the checksum that its other bytes have."""
    blank = patched(tar[at : at + 512], 148, b" " * 8)
    return patched(tar, at + 148, b"%06o\0 " % sum(blank))


@functools.cache
def _tar_bomb() -> bytes:
    table = csv_of("fer2013.csv") + b"\n" * 2**25
    return gzip.compress(_tar_member("fer2013.csv", table, tarfile.REGTYPE), mtime=0)


# npz


def npz_files(random: Random) -> Files:
    """Return fer2013.npz, mostly with one array that is odd, damaged, pickled or large."""
    arrays = {}
    for split, count in (("train", 3), ("public_test", 2), ("private_test", 1)):
        arrays[f"{split}_images"] = ("|u1", (count, 48, 48), bytes(range(256)) * (9 * count))
        arrays[f"{split}_labels"] = ("<i4", (count,), b"\1\0\0\0" * count)
    members = {key: _npy(repr(kind), repr(shape), b) for key, (kind, shape, b) in arrays.items()}
    if random.random() < 0.7:
        victim = random.choice(list(members))
        change = random.choice((_odd_npy, _odd_npy, _damaged_npy, _object_npy, _bomb_npy))
        members[victim] = change(random, *arrays[victim])
    if random.random() < 0.1:
        members.pop(random.choice(list(members)))
    method = random.choice((STORED, STORED, DEFLATED, zipfile.ZIP_LZMA))
    archive = zip_of([(f"{key}.npy", data) for key, data in members.items()], method)
    return {"fer2013.npz": _tampered(random, archive)}


def _npy(
    kind: str, shape: str, data: bytes, version: bytes = b"\1\0", order: str = "False"
) -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + b"\n"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(text) % 2**16)
    return b"\x93NUMPY" + version + size + text + data


def _odd_npy(random: Random, kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """A header that claims what the data are not, or that NumPy's parser chokes on."""
    types = ("'O'", "'<f8'", "'V0'", "'|S0'", "'<M8[99s]'", "[('a', '|u1')]", "[('a', 'O')] * 2")
    types += ("[('a','u1'),('a','u1')]",)
    noise = ("5", "''", "None", "(" * 90 + ")" * 90, "(" * 4000, "-" * 9000 + "1")
    noise += ("'" + "x" * 9000 + "'",)
    claimed_kind = random.choice((repr(kind), random.choice(types), random.choice(noise)))
    sizes = ("(10**12,)", "(1000000000000, 48, 48)", "(-1, 48, 48)", "(True,)", "(3L, 48, 48)")
    sizes += ("(0, 48, 48)", "(3.0, 48, 48)")
    others = ("()", "3", "'3'", f"({'1,' * 4000})", "(" + "9" * 9000 + ",)")
    claimed = random.choice((repr(shape), random.choice(sizes), random.choice(others)))
    version = random.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"))
    order = random.choice(("False", "False", "True", "1", "[]"))
    return _npy(claimed_kind, claimed, data, version, order)


def _damaged_npy(random: Random, kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    return mutate(random, _npy(repr(kind), repr(shape), data))


class _Opens:
    def __reduce__(self):
        return open, (CANARY, "w")


def _object_npy(random: Random, kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """A pickle where NumPy, if allowed, would unpickle it."""
    array = np.empty(shape[:1], object)
    array[:] = [_Opens() for _ in range(shape[0])]
    return _npy("'|O'", repr(random.choice((shape[:1], shape))), pickle.dumps(array, 2))


def _bomb_npy(random: Random, kind: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """Honest about being large: more rows than the data set has."""
    count = random.choice((10**3, 10**4))
    return _npy(repr(kind), repr((count, *shape[1:])), bytes(count * len(data) // shape[0]))
