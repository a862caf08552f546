"""Model files: a real one damaged, documents that lie, and pickles made to run code or to swell.

data = model_files(random.Random(0))["model.pkl"]
"""

import functools
import os
import pickle
import pickletools
import struct
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
from mutate import CANARY, INTEGERS, Files, mutate

from fer_jax import models
from fer_jax.models import model_file, safe_pickle

_ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}
_KEYS = ("format", "version", "input_size", "labels", "architecture", "metadata", "variables")
_KEYS += ("temperature", "more")


def model_files(random: Random) -> Files:
    """Return a model file of one of five kinds, hostile ones least often."""
    makers = (*[_damaged] * 2, *[_document] * 3, _opcodes, *[_program] * 2, _hostile)
    return {"model.pkl": random.choice(makers)(random)}


@functools.cache
def good() -> bytes:
    """Return a small model's file."""
    module = models.create(_ARCHITECTURE)
    faces = np.zeros((1, 48, 48, 1), np.float32)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), faces, train=False))
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)
    model = model_file.ModelFile(_ARCHITECTURE, variables, {"protocol": "train-only"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pkl"
        model_file.save(path, model)
        return path.read_bytes()


def _damaged(random: Random) -> bytes:
    return mutate(random, good())


# Documents: the right frame around wrong values


def _document(random: Random) -> bytes:
    document = pickle.loads(good())
    for _ in range(random.randint(0, 2)):
        kind = random.choice(("value", "array", "array", "architecture", "architecture"))
        if kind == "value":
            document[random.choice(_KEYS)] = _value(random)
        elif kind == "array":
            _change_array(random, document)
        else:
            _change_architecture(random, document)
    return pickle.dumps(document, random.choice((4, 4, 4, 4, 4, 4, 0, 2, 5)))


def _value(random: Random) -> Any:
    deep: list = []
    laughs: list = []
    for _ in range(200):
        deep = [deep]
    for _ in range(30):
        laughs = [laughs] * 8  # 8 ** 30 leaves in 31 objects
    cycle: dict = {}
    cycle["a"] = cycle
    plain = (None, True, -1, 3.5, float("nan"), float("inf"), 1j, 10**600, -(10**12), *INTEGERS)
    texts = ("", "x" * 10_000, "a\nb", "\ud800", "\x1b[2J", b"", b"x" * 9, bytearray(4))
    nested = ([], {}, [[]] * 1000, [10**12] * 3, {"a": {"a": {}}}, (1, 2), {1, 2})
    keyed = ({1: 2}, {None: 1}, {"a\nb": 1}, {"x" * 5000: 1})
    return random.choice((*plain, *texts, *nested, deep, laughs, cycle, *keyed))


def _change_array(random: Random, document: dict) -> None:
    """Change what is claimed of one array, or the name it has."""
    leaf: Any = document["variables"]
    while isinstance(leaf, dict) and leaf and "bytes" not in leaf:
        parent, name = leaf, random.choice(sorted(leaf, key=str))
        leaf = leaf[name]
    if not isinstance(leaf, dict) or not isinstance(leaf.get("bytes"), bytes):  # changed before
        return
    key = random.choice(("shape", "shape", "bytes", "dtype", "name", "value"))
    data = leaf["bytes"]
    if key == "name":
        parent[random.choice(("", "a/b", "a\nb", "x" * 3000, name * 2))] = parent.pop(name)
    elif key == "value":
        parent[name] = _value(random)
    elif key == "bytes":
        leaf["bytes"] = random.choice((b"", data[:-1], data * 2, b"\xff" * len(data), bytes(10**6)))
    elif key == "dtype":
        leaf["dtype"] = random.choice(("float16", "float64", "O", 1))
    else:
        numbers = (*INTEGERS, 10**6, 10**12, -1, True, 1.0)
        sizes = [random.choice(numbers) for _ in range(random.randint(0, 5))]
        leaf["shape"] = random.choice((sizes, sizes, _value(random)))


def _change_architecture(random: Random, document: dict) -> None:
    width = random.choice((*INTEGERS, 10**9, 2**2000, -1, 1.0, "2", None, True))
    others = ("family", "dropout", "crop", "classes", "dtype", "parent", "name", "train", "a\nb")
    key = random.choice(("stages", random.choice(others)))
    value = random.choice((width, _value(random)))
    if key == "stages":
        layers = [[2] * random.choice((3, 40, 120, 10**5))]
        stages = [[2]] * random.choice((3, 7, 40, 60, 10**4))
        wide = ([[width]], [[width] * 3] * 3, [width])
        value = random.choice((*wide, layers, stages, [[]], [[[2]]], "ab", {"a": 1}, value))
    document["architecture"] = {**_ARCHITECTURE, key: value}


# Pickles: opcodes in any order, and those that run code


def _opcodes(random: Random) -> bytes:
    """Return opcodes in an order without sense; half of the time only those that are admitted."""
    codes = {opcode.name: opcode for opcode in pickletools.opcodes}
    names = random.choice((sorted(safe_pickle.OPCODES), list(codes)))
    count = random.choice((1, 5, 30))
    body = b"".join(_opcode(random, codes[random.choice(names)]) for _ in range(count))
    return b"\x80\4" + body + random.choice((b".", b".", b""))


def _opcode(random: Random, opcode: pickletools.OpcodeInfo) -> bytes:
    """Return an opcode with an argument at the edge of its range."""
    code = opcode.code.encode("latin-1")
    if opcode.arg is None:
        return code
    if opcode.arg.n > 0:
        return code + (random.choice(INTEGERS) % 256**opcode.arg.n).to_bytes(opcode.arg.n, "little")
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        return code + random.choice((b"os\nsystem\n", b"1\n", b"9" * 5000 + b"\n", b"'a'\n", b"\n"))
    sizes = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT8U: 8}
    size = sizes.get(opcode.arg.n, 4)
    length = random.choice((0, 1, 3, *INTEGERS)) % 256**size
    return code + length.to_bytes(size, "little") + b"abc"


def _program(random: Random) -> bytes:
    """Return admitted opcodes that make sense: containers that hold and share each other."""
    data = b"\x80\4}\x94"
    for k in range(random.randint(1, 40)):
        key = b"\x8c\1" + bytes([97 + k % 26])
        shared = b"h" + bytes([random.choice((0, 0, 0, 1))])
        values = (b"]\x94", b"}\x94", b"N", b"\x88", b"K\1", b"\x8c\1a", b"C\1a", shared, shared)
        value = random.choice(values)
        pair = (key + value + b"s", b"(" + key + value + b"u", key + b"](" + value * 3 + b"es")
        data += random.choice(pair)
    return data + b"."


class _Calls:
    """Unpickled, calls `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def _hostile(random: Random) -> bytes:
    """Return what leaves the canary, or takes the machine down, in a reader that unpickles."""
    if random.random() < 0.2:
        memo = random.choice((b"r", b"p")) + struct.pack("<I", 2**32 - 1)
        return b"\x80\2" + memo.join((b"}", b"0N")) + b"."
    write = f"open({CANARY!r}, 'w')"
    files = (_Calls(open, CANARY, "w"), _Calls(os.mkdir, CANARY))
    code = (_Calls(exec, write), _Calls(eval, write), _Calls(os.system, f"touch {CANARY}"))
    call = random.choice((*files, *code, _Calls(bytearray, 10**12)))
    document = pickle.loads(good())
    document[random.choice(("metadata", "variables", "format"))] = random.choice((call, [call]))
    data = pickle.dumps(random.choice((document, call)), random.randrange(6))
    return mutate(random, data, most=1) if random.random() < 0.3 else data
