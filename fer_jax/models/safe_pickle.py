"""Read a stranger's pickle of dicts, lists, strings, numbers, None and bytes; nothing else passes.

    document = loads(path.read_bytes())

The opcodes are scanned without executing them: only those that make these builtins are admitted, so
nothing can be imported or called, and every length that the data claim lies inside them. PUT is
refused because its index alone sizes the memo, tuples because a nest of shared ones takes
exponential time to hash. What is built may still contain itself, so the walk over it is counted.
"""

import io
import pickle
import pickletools
import reprlib
from typing import Any

from fer_jax.errors import InputError

OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET", "EMPTY_DICT"),
    *("SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
}
MAX_OPCODES = 50_000  # an array takes about 25, so this is some 2,000 arrays
_MAX_VALUES = 50_000
_MAX_DEPTH = 16
_MAX_KEY = 200
_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}


class BuiltinsUnpickler(pickle.Unpickler):
    """Refuse every global: the second lock behind the scan."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = show(f"{module_name}.{global_name}")
        raise InputError(f"a model file holds no globals, this one asks for {name}")


def loads(data: bytes) -> Any:
    """Return what `data` hold; raise an InputError if that is anything else, or too much."""
    if not data:
        raise InputError("must be a model file, is empty")
    _scan(data)
    try:
        document = BuiltinsUnpickler(io.BytesIO(data)).load()
    except InputError:
        raise
    # the opcodes are ours, in an order that makes no sense: the unpickler's errors are many
    except Exception as error:
        raise InputError(f"corrupt model file: {first_line(error)}") from None
    check_values(document, _MAX_VALUES)
    return document


def check_values(tree: Any, most: int) -> None:
    """Refuse more than `most` values, too deep a nest (as a cycle is), and keys but strings."""
    count, stack = 0, [(tree, 0)]
    while stack:
        value, depth = stack.pop()
        count += 1
        if count > most or depth > _MAX_DEPTH:
            limits = f"at most {most:,} values, {_MAX_DEPTH} deep"
            raise InputError(f"{limits}, are admitted in {show(tree)}")
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                rule = "keys in a model file must be strings"
                raise InputError(f"{rule}, received {show(list(value))}")
            # A shared long key would be written out once for each value below it.
            if any(len(key) > _MAX_KEY for key in value):
                rule = f"keys in a model file have at most {_MAX_KEY} characters"
                raise InputError(f"{rule}, received {show(max(value, key=len))}")
            value = list(value.values())
        if isinstance(value, list):
            stack.extend((child, depth + 1) for child in value)


def show(value: Any) -> str:
    """Return a short one-line repr, whatever the value's size, even where it contains itself."""
    text = reprlib.repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def first_line(error: Exception) -> str:
    """Return the beginning of an error's message, or its type's name where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _scan(data: bytes) -> None:
    """Read the opcodes without executing them; refuse all but `OPCODES`."""
    stream = io.BytesIO(data)
    if not any(_admitted(stream) == "STOP" for _ in range(MAX_OPCODES)):
        limit = f"at most {MAX_OPCODES:,} pickle opcodes"
        raise InputError(f"a model file has {limit}, this one has more")
    if stream.tell() != len(data):
        raise InputError(f"corrupt model file: {len(data) - stream.tell():,} bytes after its end")


def _admitted(stream: io.BytesIO) -> str:
    """Step over an opcode and its argument, which is decoded only if admitted; return its name."""
    position, code = stream.tell(), stream.read(1)
    opcode = _BY_CODE.get(code.decode("latin-1"))
    place = f"byte {position:,}"
    if opcode is None:
        rule = f"{place} should be a pickle opcode, is {code!r}"
        raise InputError(f"corrupt or not a model file: {rule}")
    name = opcode.name
    if name not in OPCODES:
        raise InputError(f"not a model file: pickle opcode {name} at {place} is not admitted")
    try:
        if opcode.arg is not None:
            opcode.arg.reader(stream)
    except ValueError as error:  # longer than the file, or no UTF-8
        raise InputError(f"corrupt model file: {name} at {place}: {first_line(error)}") from None
    return name
