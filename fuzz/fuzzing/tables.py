"""FER-2013 as CSV files, zip archives and npz, with everything wrong that a stranger or a broken
disk can do to them.
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

from fuzzing.mutate import CANARY, INTEGERS, Files, mutate

_PIXELS = 48 * 48
_HEADERS = {
    "train.csv": "emotion,pixels",
    "test.csv": "pixels",
    "icml_face_data.csv": "emotion, Usage, pixels",
    "fer2013.csv": "emotion,pixels,Usage",
}
_CHALLENGE = ("train.csv", "test.csv", "icml_face_data.csv")
# emotion, usage
_ROWS = (("3", "Training"), ("0", "Training"), ("6", "PublicTest"), ("1", "PrivateTest"))
_CELLS = (
    *(
        "",
        " ",
        "7",
        "-1",
        "1.0",
        "happy",
        "Training",
        "training",
        '"',
        '"a""b"',
        "\0",
        "\n",
        "\r\n",
        "\ud7ff",
        "٣",
        "=1+1",
    ),
    *(
        "0",
        " 3 ",
        "3\n",
        "9" * 5000,
        "x" * 70_000,
        "a," * 500,
        '"' + "\n" * 300 + '"',
        "\x1b[31m",
        "\u2028",
    ),
)
_TOKENS = (
    "",
    "256",
    "-1",
    "+1",
    "1.5",
    "1e3",
    "nan",
    "0x1",
    "٣",
    "\t",
    "\0",
    "007",
    "9" * 30,
    "9" * 6000,
)


def csv_files(random: Random) -> Files:
    names = random.choice(
        (
            _CHALLENGE,
            ("fer2013.csv",),
            ("icml_face_data.csv",),
            ("train.csv", "test.csv", "fer2013.csv"),
        )
    )
    contents = {name: _csv(name) for name in names}
    victim = random.choice(names)
    contents[victim] = random.choice((_odd_csv, _odd_csv, _damaged_csv, _large_csv))(random, victim)
    return contents


def zip_files(random: Random) -> Files:
    if random.random() < 0.02:
        return {"archive.zip": _tampered(random, _bomb(random.choice((b"\n", b"0", b'"",\n'))))}
    members = [(random.choice(("", "a/b/", "fer2013/")) + name, _csv(name)) for name in _CHALLENGE]
    for _ in range(random.choice((0, 0, 1, 2))):
        at = random.randrange(len(members))
        members[at] = (random.choice((members[at][0], _odd_name(random))), _member(random))
    if random.random() < 0.2:
        members.append(random.choice(members))
    methods = (
        *[zipfile.ZIP_STORED] * 3,
        *[zipfile.ZIP_DEFLATED] * 6,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    )
    return {"archive.zip": _tampered(random, _zip(members, random.choice(methods)))}


def npz_files(random: Random) -> Files:
    arrays = {}
    for split, count in (("train", 3), ("public_test", 2), ("private_test", 1)):
        arrays[f"{split}_images"] = ("|u1", (count, 48, 48), bytes(range(256)) * (9 * count))
        arrays[f"{split}_labels"] = ("<i4", (count,), b"\1\0\0\0" * count)
    members = {
        key: _npy(repr(descr), repr(shape), data) for key, (descr, shape, data) in arrays.items()
    }
    if random.random() < 0.7:
        victim = random.choice(list(members))
        members[victim] = random.choice((_odd_npy, _odd_npy, _damaged_npy, _object_npy, _bomb_npy))(
            random, *arrays[victim]
        )
    if random.random() < 0.1:
        members.pop(random.choice(list(members)))
    method = random.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
    )
    return {
        "fer2013.npz": _tampered(
            random, _zip([(f"{key}.npy", data) for key, data in members.items()], method)
        )
    }


def tar_files(random: Random) -> Files:
    """fer2013.tar.gz, alone or within a zip."""
    if random.random() < 0.02:
        return {"fer2013.tar.gz": _tar_bomb()}
    table = random.choice((lambda *_: _csv("fer2013.csv"), _odd_csv, _damaged_csv))(
        random, "fer2013.csv"
    )
    members = (("fer2013/README", b"x" * 700), ("fer2013/fer2013.csv", table))
    # regular, links, folder, long name, extended, sparse
    kinds = (b"0",) * 9 + (b"1", b"2", b"5", b"L", b"x", b"S")
    tar = b"".join(_tar_member(name, data, random.choice(kinds)) for name, data in members) + bytes(
        1024
    )
    if random.random() < 0.3:
        # mode, size, sum, kind, magic
        header, field = random.choice((0, 1536)), random.choice((100, 124, 148, 156, 257))
        value = random.choice(
            (b"\xff" * 12, b"\x80" + b"\xff" * 11, b"77777777777", b"\0" * 8, b"-1")
        )
        tar = _with_checksum(_patched(tar, header + field, value), header)
    if random.random() < 0.2:
        tar = mutate(random, tar)
    packed = gzip.compress(tar, 1, mtime=0)
    if random.random() < 0.3:
        packed = mutate(random, packed)
    return random.choice(
        (
            {"fer2013.tar.gz": packed},
            {"a.zip": _zip([("b/fer2013.tar.gz", packed)], zipfile.ZIP_DEFLATED)},
        )
    )


def votes_files(random: Random) -> Files:
    """FER+'s fer2013new.csv for the four rows of `_ROWS`."""
    rows = [
        ["Usage", "Image name", *_VOTED],
        *([usage, "fer0000001.png", *"4001320000"] for _, usage in _ROWS),
    ]
    for _ in range(random.randint(0, 2)):
        row = random.choice(rows)
        row[random.randrange(len(row))] = random.choice((*_CELLS, *_TOKENS))
    if random.random() < 0.2:
        random.choice(rows).extend(random.choice(([""], ["NF"], ["a"] * 60_000)))
    data = "\n".join(",".join(row) for row in rows).encode() + random.choice(
        (b"\n", b"\n", b"", b"\n" * 10**5)
    )
    return {"fer2013new.csv": mutate(random, data) if random.random() < 0.3 else data}


_VOTED = (
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
)


@functools.cache
def _csv(name: str) -> bytes:
    """The rows that belong in a file of that name, well formed."""
    return "\n".join([_HEADERS[name], *(",".join(cells) for cells in _cells(name)), ""]).encode()


def _cells(name: str) -> list[list[str]]:
    rows = []
    for k, (emotion, usage) in enumerate(_ROWS):
        if (name == "train.csv" and usage != "Training") or (
            name == "test.csv" and usage == "Training"
        ):
            continue
        values = {"emotion": emotion, "Usage": usage, "pixels": " ".join([str(40 * k)] * _PIXELS)}
        rows.append([values[column.strip()] for column in _HEADERS[name].split(",")])
    return rows


def _odd_csv(random: Random, name: str) -> bytes:
    """Well-formed but for a few cells, its header or its dress."""
    rows = [_HEADERS[name].split(","), *_cells(name)]
    for _ in range(random.randint(0, 2)):
        row = random.choice(rows)
        at = random.randrange(len(row))
        row[at] = random.choice((_odd_pixels(random), random.choice(_CELLS)))
    if random.random() < 0.2:
        random.choice(rows).append(random.choice(_CELLS))
    end = random.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    text = end.join(",".join(row) for row in rows) + random.choice((end, end, ""))
    return random.choice((b"", b"", b"\xef\xbb\xbf")) + text.encode(
        random.choice(("utf-8", "utf-8", "utf-8", "utf-16"))
    )


def _odd_pixels(random: Random) -> str:
    tokens = ["7"] * (_PIXELS + random.choice((0, 0, -1, 1, 50, -2000)))
    for _ in range(random.randint(0, 2)):
        tokens[random.randrange(len(tokens))] = random.choice(_TOKENS)
    return random.choice((" ", " ", "  ", ";")).join(tokens)


def _damaged_csv(random: Random, name: str) -> bytes:
    return mutate(random, _csv(name))


def _large_csv(random: Random, name: str) -> bytes:
    """Much of something that costs a reader time or memory."""
    header = _HEADERS[name].encode() + b"\n"
    fillers = (
        b"\n",
        b"\r\n",
        b" ",
        b"0",
        b"0,",
        b'"',
        b'"\n',
        b"\0",
        b'"",\n',
        b"," * 60_000 + b"\n",
    )
    filler = random.choice(fillers)
    return random.choice((header, _csv(name))) + filler * (
        random.choice((10**5, 10**6)) // len(filler)
    )


def _odd_name(random: Random) -> str:
    folders = ("../../", "/etc/", "C:\\", "a\nb/", "\x1b[2J/", "d/" * 30_000)
    return random.choice((random.choice(folders) + random.choice(_CHALLENGE), "/", ".", "é.csv"))


def _member(random: Random) -> bytes:
    return random.choice((_odd_csv, _damaged_csv, lambda *_: b""))(
        random, random.choice(_CHALLENGE)
    )


def _zip(members: list[tuple[str, bytes]], method: int) -> bytes:
    """An archive of `members`; names may repeat."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")  # about names that repeat
        for name, data in members:
            archive.writestr(name, data, method)
    return stream.getvalue()


@functools.cache
def _bomb(filler: bytes) -> bytes:
    """An archive with 64 MB behind a good header, a thousandth of that in the file."""
    members = {name: _csv(name) for name in _CHALLENGE}
    members["train.csv"] += filler * (2**26 // len(filler))
    return _zip(list(members.items()), zipfile.ZIP_DEFLATED)


def _tampered(random: Random, data: bytes) -> bytes:
    """An archive whose directory lies: flags, method, checksum or sizes of one entry, or damaged
    anywhere.
    """
    entry = random.choice([match.start() for match in re.finditer(b"PK(\1\2|\3\4)", data)] or [0])
    shift = 0 if data.startswith(b"PK\3\4", entry) else 2
    kind = random.choice(("no", "no", "flags", "method", "field", "field", "bytes", "bytes"))
    if kind == "flags":
        return _patched(data, entry + 6 + shift, struct.pack("<H", 1 << random.randrange(16)))
    if kind == "method":
        return _patched(
            data,
            entry + 8 + shift,
            struct.pack("<H", random.choice((0, 8, 9, 12, 14, 93, 95, 99, 65535))),
        )
    if kind == "field":  # checksum, sizes, lengths of name and extra field, offset
        field = random.choice((14, 18, 22, 26, 40)) + shift
        return _patched(data, entry + field, struct.pack("<I", random.choice(INTEGERS) % 2**32))
    return mutate(random, data) if kind == "bytes" else data


def _tar_member(name: str, data: bytes, kind: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def _with_checksum(tar: bytes, at: int) -> bytes:
    """The header at `at` with the checksum that its other bytes have."""
    blank = _patched(tar[at : at + 512], 148, b" " * 8)
    return _patched(tar, at + 148, b"%06o\0 " % sum(blank))


@functools.cache
def _tar_bomb() -> bytes:
    return gzip.compress(
        _tar_member("fer2013.csv", _csv("fer2013.csv") + b"\n" * 2**25, tarfile.REGTYPE), mtime=0
    )


def _patched(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def _npy(
    descr: str, shape: str, data: bytes, version: bytes = b"\1\0", order: str = "False"
) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + b"\n"
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(text) % 2**16)
    return b"\x93NUMPY" + version + size + text + data


def _odd_npy(random: Random, descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """A header that claims what the data are not, or that NumPy's parser chokes on."""
    types = (
        "'O'",
        "'<f8'",
        "'V0'",
        "'|S0'",
        "'<M8[99s]'",
        "[('a', '|u1')]",
        "[('a', 'O')] * 2",
        "[('a','u1'),('a','u1')]",
    )
    noise = (
        "5",
        "''",
        "None",
        "(" * 90 + ")" * 90,
        "(" * 4000,
        "-" * 9000 + "1",
        "'" + "x" * 9000 + "'",
    )
    descr = random.choice((repr(descr), random.choice(types), random.choice(noise)))
    sizes = (
        "(10**12,)",
        "(1000000000000, 48, 48)",
        "(-1, 48, 48)",
        "(True,)",
        "(3L, 48, 48)",
        "(0, 48, 48)",
        "(3.0, 48, 48)",
    )
    others = ("()", "3", "'3'", f"({'1,' * 4000})", "(" + "9" * 9000 + ",)")
    claimed = random.choice((repr(shape), random.choice(sizes), random.choice(others)))
    version = random.choice((b"\1\0", b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff"))
    order = random.choice(("False", "False", "True", "1", "[]"))
    return _npy(descr, claimed, data, version, order)


def _damaged_npy(random: Random, descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    return mutate(random, _npy(repr(descr), repr(shape), data))


class _Opens:
    def __reduce__(self):
        return open, (CANARY, "w")


def _object_npy(random: Random, descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """A pickle where NumPy, if allowed, would unpickle it."""
    array = np.empty(shape[:1], object)
    array[:] = [_Opens() for _ in range(shape[0])]
    return _npy("'|O'", repr(random.choice((shape[:1], shape))), pickle.dumps(array, 2))


def _bomb_npy(random: Random, descr: str, shape: tuple[int, ...], data: bytes) -> bytes:
    """Honest about being large: more rows than the data set has."""
    count = random.choice((10**3, 10**4))
    return _npy(repr(descr), repr((count, *shape[1:])), bytes(count * len(data) // shape[0]))
