"""Damage to bytes that knows nothing of their format.

data = mutate(random.Random(0), data)
"""

from random import Random

Files = dict[str, bytes]  # an input: contents by path, relative to the folder that is read

CANARY = "executed"  # what hostile code would create in the working directory
INTEGERS = (0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
INTEGERS += (2**63 - 1, 2**64 - 1)

_TOKENS = (b"\0", b"\n", b"\r", b'"', b",", b"  ", b"-1", b"256", b"1e9", b"nan", b"\xff\xfe")
_TOKENS += (b"\xef\xbb\xbf", b"9" * 40)
_KINDS = ("flip", "cut", "delete", "repeat", "insert", "overwrite", "move")


def mutate(random: Random, data: bytes, most: int = 4) -> bytes:
    """Return `data` after one to `most` small changes."""
    for _ in range(random.randint(1, most)):
        data = _change(random, random.choice(_KINDS), data)
    return data


def patched(data: bytes, at: int, piece: bytes) -> bytes:
    """Return `data` with `piece` in place of as many bytes from `at` on."""
    return data[:at] + piece + data[at + len(piece) :]


def _change(random: Random, kind: str, data: bytes) -> bytes:
    at = _place(random, data)
    if kind == "flip":
        return patched(data, at, bytes(b ^ (1 << random.randrange(8)) for b in data[at : at + 1]))
    if kind == "cut":
        return data[:at]
    if kind == "delete":
        return data[:at] + data[at + random.choice((1, 2, 4, 16, 256)) :]
    if kind == "repeat":
        piece = data[at : at + random.choice((1, 4, 32, 1024))]
        return data[:at] + piece * random.choice((2, 3, 50)) + data[at:]
    if kind == "insert":
        return data[:at] + random.choice(_TOKENS) + data[at:]
    if kind == "overwrite":  # an integer becomes one at the edge of some type's range
        size = random.choice((1, 2, 4, 8))
        value = random.choice(INTEGERS) % 256**size
        return patched(data, at, value.to_bytes(size, random.choice(("little", "big"))))
    size = random.choice((1, 8, 64))
    rest = data[:at] + data[at + size :]
    to = _place(random, data)
    return rest[:to] + data[at : at + size] + rest[to:]


def _place(random: Random, data: bytes) -> int:
    """An offset in `data`; two thirds lie near its ends, where formats keep their structure."""
    near = random.randint(0, min(len(data), 80))
    return random.choice((near, len(data) - near, random.randint(0, len(data))))
