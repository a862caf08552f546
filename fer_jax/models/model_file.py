"""The portable model file: architecture, weights and metadata in one pickle of builtins, which can
never run code.

    save("my_own_model.pkl", ModelFile(architecture, variables, {"protocol": "train-only"}),
    dtype="float16") model = load("my_own_model.pkl")

The pickle holds dicts, lists, strings, numbers, None and bytes only; an array is {"dtype", "shape",
"bytes"}, little-endian, C order. A reader needs nothing but the standard library.

A stranger's file is judged before anything is built from it. Its size is capped before it is read.
Its opcodes are scanned without executing them: only those that make the builtins above pass, so
nothing can be imported, called or restored through a registry, and every length that the file
claims is known to lie inside it. PUT is refused because its index alone sizes the memo, tuples
because a nest of shared ones takes exponential time to hash as a key. What the unpickler then
builds may still share or contain itself, so the walk over it is counted. Only then are the weights
compared with the architecture, and only after that are arrays made.
"""

import io
import math
import pickle
import pickletools
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from fer_jax import files, models
from fer_jax.errors import InputError
from fer_jax.labels import LABEL_SETS, names
from fer_jax.types import IMAGE_SIZE, TEMPERATURES, Variables

FORMAT = "fer_jax model"
VERSION = 1

_MAX_FILE_BYTES = 64 * 2**20
_MAX_OPCODES = 50_000  # an array takes about 25, so this is some 2,000 arrays
_MAX_NODES = 50_000
_MAX_DEPTH = 16
_MAX_RANK = 8
_MAX_SIZE = 2**31  # of one axis
_MAX_MESSAGE = 600  # characters; the names of weights may have millions
_MAX_ARCHITECTURE_VALUES = 128  # building a model costs milliseconds a layer
_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET"),
    *(
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
    ),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}
_STORED = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_ARRAY_KEYS = {"dtype", "shape", "bytes"}


@dataclass(frozen=True)
class ModelFile:
    """A trained model at rest.

    `architecture` is what `models.create` takes; `variables` are flax variables with numpy leaves
    ({"params", "batch_stats"}); `metadata` says how the model came to be (builtins only). Tuples in
    them are stored as lists. Logits are to be divided by `temperature` before they become
    probabilities. `labels` names the label set of the network's outputs (`labels.LABEL_SETS`).
    """

    architecture: dict[str, Any]
    variables: Variables
    metadata: dict[str, Any]
    temperature: float = 1.0
    labels: str = "fer2013"

    @property
    def emotions(self) -> tuple[str, ...]:
        """Return what the network's outputs mean, in order."""
        return names(self.labels)


def save(
    path: str | Path, model: ModelFile, dtype: Literal["float16", "float32"] = "float32"
) -> None:
    """Write `model` to `path`, whole or not at all.

    float16 halves the file: it holds kernels (rank 2 and up); biases and statistics, few but
    delicate, stay exact.

    Raises:
        InputError: `load` would refuse the file (non-finite weights, weights that do not fit the
            architecture, an unknown label set, ...).
        TypeError: a value in `architecture` or `metadata` is no builtin.
    """
    try:
        labels = list(model.emotions)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    document = {
        "format": FORMAT,
        "version": VERSION,
        "input_size": IMAGE_SIZE,
        "label_set": model.labels,
        "labels": labels,
        "architecture": _plain(model.architecture),
        "temperature": model.temperature,
        "metadata": _plain(model.metadata),
        "variables": jax.tree.map(
            lambda leaf: _encode(np.asarray(leaf), _STORED[dtype]), model.variables
        ),
    }
    data = pickle.dumps(document, protocol=4)
    _parse(data, str(path))
    with files.replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


def load(path: str | Path) -> ModelFile:
    """Read a model file, of whatever origin; weights become float32.

    Raises:
        InputError: no such file, or it is corrupt, hostile, or for other images, labels or code
            than ours.
    """
    return _parse(_read(Path(path)), str(path))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: no such model file")
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the model file: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise InputError(
            f"{path}: a model file has at most {_MAX_FILE_BYTES:,} bytes, this one has more"
        )
    return data


def _parse(data: bytes, name: str) -> ModelFile:
    try:
        return _judge(_unpickle(data))
    except InputError as error:
        raise InputError(f"{name}: {str(error)[:_MAX_MESSAGE]}") from None


def _judge(document: Any) -> ModelFile:
    _check_walk(document, _MAX_NODES)
    _check_header(document)
    encoded = _flatten(document["variables"])
    _check_encoding(encoded)
    _check_walk(document["architecture"], _MAX_ARCHITECTURE_VALUES)
    label_set = _label_set(document)
    _check_fit(encoded, document["architecture"], label_set)
    model = ModelFile(
        document["architecture"],
        _decode(document["variables"]),
        document["metadata"],
        float(document.get("temperature", 1)),
        label_set,
    )
    for path, leaf in _flatten(model.variables).items():
        if not np.isfinite(leaf).all():
            raise InputError(f"weights must be finite, {path} holds NaN or infinity")
    return model


class _BuiltinsUnpickler(pickle.Unpickler):
    """The second lock behind `_scan`."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise InputError(
            f"a model file holds no globals, this one asks for {_show(f'{module_name}.{global_name}')}"
        )


def _unpickle(data: bytes) -> Any:
    _scan(data)
    try:
        return _BuiltinsUnpickler(io.BytesIO(data)).load()
    except InputError:
        raise
    # the opcodes are ours, in an order that makes no sense: the unpickler's errors are many
    except Exception as error:
        raise InputError(f"corrupt model file: {_first_line(error)}") from None


def _scan(data: bytes) -> None:
    """Read the opcodes without executing them; refuse all but those that `save` writes."""
    stream = io.BytesIO(data)
    for _ in range(_MAX_OPCODES):
        opcode = _admitted(stream)
        if opcode.name == "STOP":
            break
    else:
        raise InputError(
            f"a model file has at most {_MAX_OPCODES:,} pickle opcodes, this one has more"
        )
    if stream.tell() != len(data):
        raise InputError(f"corrupt model file: {len(data) - stream.tell():,} bytes after its end")


def _admitted(stream: io.BytesIO) -> pickletools.OpcodeInfo:
    """Step over one opcode and its argument, which is decoded (as `pickletools.genops` does) only
    if admitted.
    """
    position, code = stream.tell(), stream.read(1)
    opcode = _BY_CODE.get(code.decode("latin-1"))
    if opcode is None:
        raise InputError(
            f"corrupt or not a model file: byte {position:,} should be a pickle opcode, is {code!r}"
        )
    if opcode.name not in _OPCODES:
        raise InputError(
            f"not a model file: pickle opcode {opcode.name} at byte {position:,} is not admitted"
        )
    try:
        if opcode.arg is not None:
            opcode.arg.reader(stream)
    except ValueError as error:  # longer than the file, or no UTF-8
        raise InputError(
            f"corrupt model file: {opcode.name} at byte {position:,}: {_first_line(error)}"
        ) from None
    return opcode


def _check_walk(tree: Any, most: int) -> None:
    """Bound the values in `tree`; shared parts count each time they are met, so a cycle meets the
    bound on depth.
    """
    nodes, stack = 0, [(tree, 0)]
    while stack:
        value, depth = stack.pop()
        nodes += 1
        if nodes > most or depth > _MAX_DEPTH:
            raise InputError(
                f"at most {most:,} values, {_MAX_DEPTH} deep, are admitted in {_show(tree)}"
            )
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise InputError(
                    f"keys in a model file must be strings, received {_show(list(value))}"
                )
            value = list(value.values())
        if isinstance(value, list):
            stack.extend((child, depth + 1) for child in value)


def _check_header(document: Any) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"not a model file of fer_jax: received {_show(document)}")
    rules = {"version": VERSION, "input_size": IMAGE_SIZE}
    for key, expected in rules.items():
        if document.get(key) != expected:
            raise InputError(f"{key} must be {expected}, received {_show(document.get(key))}")
    # older files have none
    temperature, (low, high) = document.get("temperature", 1.0), TEMPERATURES
    if type(temperature) not in (int, float) or not low <= temperature <= high:
        raise InputError(
            f"temperature must be a number in [{low}, {high}], received {_show(temperature)}"
        )
    for key in ("architecture", "metadata", "variables"):
        if not isinstance(document.get(key), dict):
            raise InputError(f"{key} must be a dict, received {_show(document.get(key))}")


def _label_set(document: dict[str, Any]) -> str:
    """Return the name of the file's label set; older files hold the labels alone."""
    labels = document.get("labels")
    known = [name for name, each in LABEL_SETS.items() if labels == list(each)]
    if not known:
        raise InputError(
            f"labels must be those of {', '.join(LABEL_SETS)}, received {_show(labels)}"
        )
    label_set = document.get("label_set", known[0])
    if label_set != known[0]:
        raise InputError(
            f"label_set must be {known[0]} for its labels, received {_show(label_set)}"
        )
    return label_set


def _check_encoding(encoded: dict[str, Any]) -> None:
    """Each array's claimed size must be its bytes' size, in Python's unbounded integers, and their
    sum the cap's.
    """
    total = 0
    for path, leaf in encoded.items():
        if (
            not _is_array(leaf)
            or str(leaf["dtype"]) not in _STORED
            or not isinstance(leaf["bytes"], bytes)
        ):
            raise InputError(
                f"{path} must be an array of {' or '.join(_STORED)}, received {_show(leaf)}"
            )
        shape = leaf["shape"]
        if len(shape) > _MAX_RANK or not all(
            type(size) is int and 0 <= size < _MAX_SIZE for size in shape
        ):
            raise InputError(
                f"{path} must have at most {_MAX_RANK} axes of sizes >= 0, received {_show(shape)}"
            )
        claimed = math.prod(shape) * _STORED[leaf["dtype"]].itemsize
        if claimed != len(leaf["bytes"]):
            raise InputError(
                f"{path} {_show(shape)} must have {_show(claimed)} bytes, has {len(leaf['bytes']):,}"
            )
        total += claimed
    if total > _MAX_FILE_BYTES:  # one run of bytes, named many times
        raise InputError(f"weights have at most {_MAX_FILE_BYTES:,} bytes, these {total:,}")


def _check_fit(encoded: dict[str, Any], architecture: dict[str, Any], label_set: str) -> None:
    """Check labels and weights against the architecture, of which nothing is allocated."""
    logits, variables = _shapes(architecture)
    classes, labels = logits.shape[-1], names(label_set)
    if classes != len(labels):
        raise InputError(f"labels must be {classes}, one per class, {label_set} has {len(labels)}")
    expected = _flatten(variables)
    missing, unexpected = expected.keys() - encoded.keys(), encoded.keys() - expected.keys()
    if missing or unexpected:
        paths = f"missing {_show(sorted(missing))}, unexpected {_show(sorted(unexpected))}"
        raise InputError(f"weights must fit the architecture: {paths}")
    for path, leaf in expected.items():
        shape = encoded[path]["shape"]
        if tuple(shape) != leaf.shape:
            shapes = f"{path} must have shape {list(leaf.shape)}, received {_show(shape)}"
            raise InputError(f"weights must fit the architecture: {shapes}")


def _shapes(architecture: dict[str, Any]) -> tuple[Any, Any]:
    """Return the abstract logits, float32 [1, C], and variables of an architecture's network."""
    try:
        init = models.create(architecture).init_with_output
        image = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 1), jnp.float32)
        return jax.eval_shape(lambda image: init(jax.random.key(0), image, train=False), image)
    # an architecture from a stranger may fail in any way, and must not end in a traceback
    except Exception as error:
        reason = _first_line(error)
        raise InputError(f"architecture {_show(architecture)} cannot be built: {reason}") from None


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> {"params/Conv_0/kernel": leaf}; an encoded array is a leaf, and an empty dict
    vanishes.
    """
    if not isinstance(tree, dict) or _is_array(tree):
        return {prefix: tree}
    leaves = {}
    for key, child in tree.items():
        leaves |= _flatten(child, f"{prefix}/{key}" if prefix else key)
    return leaves


def _is_array(node: Any) -> bool:
    return isinstance(node, dict) and node.keys() == _ARRAY_KEYS and isinstance(node["shape"], list)


def _decode(node: dict[str, Any]) -> Any:
    if not _is_array(node):
        return {key: _decode(child) for key, child in node.items()}
    return (
        np.frombuffer(node["bytes"], _STORED[node["dtype"]])
        .reshape(node["shape"])
        .astype(np.float32)
    )


def _encode(array: np.ndarray, kernel_dtype: np.dtype) -> dict[str, Any]:
    # beyond float16's range: infinity, which `_judge` refuses by name
    with np.errstate(over="ignore"):
        stored = array.astype(kernel_dtype if array.ndim >= 2 else _STORED["float32"])
    return {"dtype": stored.dtype.name, "shape": list(stored.shape), "bytes": stored.tobytes()}


def _plain(value: Any) -> Any:
    """A copy with lists for tuples."""
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(
        f"a model file holds builtins only, received {type(value).__name__} {_show(value)}"
    )


def _show(value: Any) -> str:
    """A short one-line repr, whatever the size of the value, and even where it contains itself."""
    text = reprlib.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _first_line(error: Exception) -> str:
    return f"{str(error) or type(error).__name__}".splitlines()[0][:200]
