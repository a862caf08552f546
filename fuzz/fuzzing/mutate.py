"""Damage to bytes that knows nothing of their format.

data = mutate(random.Random(0), data)
"""

from random import Random

Files = dict[str, bytes]  # an input: contents by path, relative to the folder that is read

CANARY = "executed"  # what hostile code would create in the working directory
INTEGERS = (
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
)
_TOKENS = (
    b"\0",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"  ",
    b"-1",
    b"256",
    b"1e9",
    b"nan",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"9" * 40,
)


def mutate(random: Random, data: bytes, most: int = 4) -> bytes:
    """`data` after one to `most` small changes."""
    for _ in range(random.randint(1, most)):
        data = random.choice(_CHANGES)(random, data)
    return data


def place(random: Random, data: bytes) -> int:
    """An offset in `data`; two thirds lie near its ends, where formats keep their structure."""
    near = min(len(data), 80)
    return random.choice(
        (random.randint(0, near), len(data) - random.randint(0, near), random.randint(0, len(data)))
    )


def _flip(random: Random, data: bytes) -> bytes:
    at = place(random, data)
    return (
        data[:at]
        + bytes(byte ^ (1 << random.randrange(8)) for byte in data[at : at + 1])
        + data[at + 1 :]
    )


def _cut(random: Random, data: bytes) -> bytes:
    return data[: place(random, data)]


def _delete(random: Random, data: bytes) -> bytes:
    at = place(random, data)
    return data[:at] + data[at + random.choice((1, 2, 4, 16, 256)) :]


def _repeat(random: Random, data: bytes) -> bytes:
    at = place(random, data)
    return (
        data[:at]
        + data[at : at + random.choice((1, 4, 32, 1024))] * random.choice((2, 3, 50))
        + data[at:]
    )


def _insert(random: Random, data: bytes) -> bytes:
    at = place(random, data)
    return data[:at] + random.choice(_TOKENS) + data[at:]


def _overwrite(random: Random, data: bytes) -> bytes:
    """An integer of 1, 2, 4 or 8 bytes becomes one at the edge of some type's range."""
    at, size = place(random, data), random.choice((1, 2, 4, 8))
    value = random.choice(INTEGERS) % 256**size
    return data[:at] + value.to_bytes(size, random.choice(("little", "big"))) + data[at + size :]


def _move(random: Random, data: bytes) -> bytes:
    start, size, to = place(random, data), random.choice((1, 8, 64)), place(random, data)
    piece, rest = data[start : start + size], data[:start] + data[start + size :]
    return rest[:to] + piece + rest[to:]


_CHANGES = (_flip, _cut, _delete, _repeat, _insert, _overwrite, _move)
