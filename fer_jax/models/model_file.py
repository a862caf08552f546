"""The portable model file: architecture, weights and metadata in one pickle, which never runs code.

The pickle holds dicts, lists, strings, numbers, None and bytes only; an array is {"dtype", "shape",
"bytes"}, little-endian, C order. A stranger's file is judged before anything is built from it: its
size is capped, `safe_pickle` admits builtins alone, and arrays are made only after their sizes were
compared with the architecture.
"""

import json
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fer_jax import files, models
from fer_jax.errors import InputError
from fer_jax.labels import LABEL_SETS, names
from fer_jax.models import safe_pickle
from fer_jax.models.safe_pickle import first_line, show
from fer_jax.types import IMAGE_SIZE, TEMPERATURES, Variables

FORMAT = "fer_jax model"
VERSION = 1
MAX_FILE_BYTES = 64 * 2**20

_MAX_RANK = 8
_MAX_ARCHITECTURE_VALUES = 128  # building a model costs milliseconds a layer
_STORED = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_ARRAY_KEYS = {"dtype", "shape", "bytes"}


@dataclass(frozen=True)
class ModelFile:
    """A trained model at rest; tuples in the architecture and the metadata come back as lists."""

    architecture: dict[str, Any]  # what `models.create` takes
    variables: Variables  # of flax, with numpy leaves
    metadata: dict[str, Any]  # how the model came to be, builtins only
    temperature: float = 1.0  # logits are divided by it before they become probabilities
    labels: str = "fer2013"  # the label set of the outputs, one of `labels.LABEL_SETS`

    @property
    def emotions(self) -> tuple[str, ...]:
        """Return what the network's outputs mean, in order."""
        return names(self.labels)


def save(
    path: str | Path, model: ModelFile, dtype: Literal["float16", "float32"] = "float32"
) -> None:
    """Write a model file, whole or not at all.

    `dtype` is that of kernels (rank 2 and up): float16 halves the file. Biases and statistics, few
    but delicate, stay exact. InputError: `load` would refuse the file. TypeError: a value in
    `architecture` or `metadata` is no builtin.
    """

    def encode(leaf: Any) -> dict[str, Any]:
        array = np.asarray(leaf)
        # beyond float16's range: infinity, which `_judge` refuses by name
        with np.errstate(over="ignore"):
            stored = array.astype(_STORED[dtype if array.ndim >= 2 else "float32"])
        return {"dtype": stored.dtype.name, "shape": list(stored.shape), "bytes": stored.tobytes()}

    document = {
        "format": FORMAT,
        "version": VERSION,
        "input_size": IMAGE_SIZE,
        "label_set": model.labels,
        "labels": list(LABEL_SETS.get(model.labels, ())),
        "architecture": json.loads(json.dumps(model.architecture)),  # lists for tuples
        "temperature": model.temperature,
        "metadata": json.loads(json.dumps(model.metadata)),
        "variables": jax.tree.map(encode, model.variables),
    }
    data = pickle.dumps(document, protocol=4)
    _parse(data, path)
    with files.replacing(Path(path)) as temporary:
        temporary.write_bytes(data)


def load(path: str | Path) -> ModelFile:
    """Read a model file of whatever origin; InputError: none, corrupt, hostile or another kind."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such model file")
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the model file: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        limit = f"at most {MAX_FILE_BYTES:,} bytes"
        raise InputError(f"{path}: a model file has {limit}, this one has more")
    return _parse(data, path)


def _parse(data: bytes, name: str | Path) -> ModelFile:
    try:
        return _judge(safe_pickle.loads(data))
    except InputError as error:
        raise InputError(f"{name}: {str(error)[:600]}") from None  # names may have millions


def _judge(document: Any) -> ModelFile:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"not a model file of fer_jax: received {show(document)}")
    for key, expected in {"version": VERSION, "input_size": IMAGE_SIZE}.items():
        if document.get(key) != expected:
            raise InputError(f"{key} must be {expected}, received {show(document.get(key))}")
    for key in ("architecture", "metadata", "variables"):
        if not isinstance(document.get(key), dict):
            raise InputError(f"{key} must be a dict, received {show(document.get(key))}")
    architecture = document["architecture"]
    encoded = _flatten(document["variables"])
    _check_encoding(encoded)
    safe_pickle.check_values(architecture, _MAX_ARCHITECTURE_VALUES)
    labels = _label_set(document)
    temperature, (low, high) = document.get("temperature", 1.0), TEMPERATURES
    if type(temperature) not in (int, float) or not low <= temperature <= high:
        received = show(temperature)
        raise InputError(f"temperature must be a number in [{low}, {high}], received {received}")
    _check_fit(encoded, architecture, labels)
    weights = {}
    for path, leaf in encoded.items():
        values = np.frombuffer(leaf["bytes"], _STORED[leaf["dtype"]]).reshape(leaf["shape"])
        weights[path] = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise InputError(f"weights must be finite, {path} holds NaN or infinity")
    variables = unflatten_dict(weights, sep="/")
    return ModelFile(architecture, variables, document["metadata"], float(temperature), labels)


def _label_set(document: dict[str, Any]) -> str:
    """Return the name of the file's label set; older files hold the labels alone."""
    labels = document.get("labels")
    allowed = [document["label_set"]] if "label_set" in document else list(LABEL_SETS)
    for name in allowed:
        if isinstance(name, str) and labels == list(names(name)):
            return name
    sets = " or ".join(map(show, allowed))
    raise InputError(f"labels must be those of {sets}, received {show(labels)}")


def _check_encoding(encoded: dict[str, Any]) -> None:
    """Check that each array has the bytes that it claims, in Python's unbounded integers."""
    total = 0
    for path, leaf in encoded.items():
        stored = _is_array(leaf) and isinstance(leaf["dtype"], str) and leaf["dtype"] in _STORED
        if not stored or not isinstance(leaf["bytes"], bytes):
            expected = f"an array of {' or '.join(_STORED)}"
            raise InputError(f"{path} must be {expected}, received {show(leaf)}")
        shape, length = leaf["shape"], len(leaf["bytes"])
        whole = all(type(size) is int and 0 <= size < 2**31 for size in shape)
        if len(shape) > _MAX_RANK or not whole:
            rule = f"at most {_MAX_RANK} axes of sizes >= 0"
            raise InputError(f"{path} must have {rule}, received {show(shape)}")
        claimed = math.prod(shape) * _STORED[leaf["dtype"]].itemsize
        if claimed != length:
            claim = f"{path} {show(shape)} must have {show(claimed)} bytes"
            raise InputError(f"{claim}, has {length:,}")
        total += claimed
    if total > MAX_FILE_BYTES:  # one run of bytes, named many times
        raise InputError(f"weights have at most {MAX_FILE_BYTES:,} bytes, these {total:,}")


def _check_fit(encoded: dict[str, Any], architecture: dict[str, Any], label_set: str) -> None:
    """Check labels and weights against the architecture, of which nothing is allocated."""
    logits, variables = _shapes(architecture)
    classes, count = logits.shape[-1], len(names(label_set))
    if classes != count:
        raise InputError(f"labels must be {classes}, one per class, {label_set} has {count}")
    expected = _flatten(variables)
    missing, unexpected = expected.keys() - encoded.keys(), encoded.keys() - expected.keys()
    if missing or unexpected:
        paths = f"missing {show(sorted(missing))}, unexpected {show(sorted(unexpected))}"
        raise InputError(f"weights must fit the architecture: {paths}")
    for path, leaf in expected.items():
        if tuple(shape := encoded[path]["shape"]) != leaf.shape:
            shapes = f"{path} must have shape {list(leaf.shape)}, received {show(shape)}"
            raise InputError(f"weights must fit the architecture: {shapes}")


def _shapes(architecture: dict[str, Any]) -> tuple[Any, Any]:
    """Return the abstract logits, float32 [1, C], and variables of an architecture's network."""
    try:
        init = models.create(architecture).init_with_output
        image = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 1), jnp.float32)
        return jax.eval_shape(lambda image: init(jax.random.key(0), image, train=False), image)
    # an architecture from a stranger may fail in any way, and must not end in a traceback
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"architecture {show(architecture)} cannot be built: {reason}") from None


def _flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Return {"params/Conv_0/kernel": leaf} for nested dicts; an encoded array is a leaf."""
    return flatten_dict(tree, is_leaf=lambda _, node: _is_array(node), sep="/")


def _is_array(node: Any) -> bool:
    return isinstance(node, dict) and node.keys() == _ARRAY_KEYS and isinstance(node["shape"], list)
