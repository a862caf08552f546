import dataclasses
import io
import os
import pickle
import pickletools
import struct

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax import models
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS, LABEL_SETS
from fer_jax.models import model_file, safe_pickle
from fer_jax.models.model_file import ModelFile

ARCHITECTURE = {"family": "vgg", "stages": [[2], [3]], "dropout": 0.0}
METADATA = {"protocol": "train-only", "epochs": 3, "accuracy": 0.5, "notes": ["a", None, True]}


@pytest.fixture(scope="module")
def model():
    module = models.create(ARCHITECTURE)
    shapes = jax.eval_shape(
        lambda: module.init(jax.random.key(0), np.zeros((1, 48, 48, 1), np.float32), train=False)
    )
    rng = np.random.default_rng(0)
    return ModelFile(
        ARCHITECTURE,
        jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes),
        METADATA,
    )


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    """The bytes of a good file."""
    path = tmp_path_factory.mktemp("model") / "good.pkl"
    model_file.save(path, model)
    return path.read_bytes()


@pytest.fixture
def refused(tmp_path):
    """Load bytes, expecting one line that names the file; returns it."""

    def check(data):
        path = tmp_path / "bad.pkl"
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            model_file.load(path)
        message = str(caught.value)
        assert (
            message.startswith(f"{path}: ")
            and len(message.splitlines()) == 1
            and len(message) < 1000
        )
        return message

    return check


def first_array(node):
    while "bytes" not in node:
        node = next(iter(node.values()))
    return node


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(model, tmp_path, dtype):
    path = tmp_path / "model.pkl"
    model_file.save(path, model, dtype)
    back = model_file.load(path)
    assert back.architecture == ARCHITECTURE and back.metadata == METADATA
    assert jax.tree.structure(back.variables) == jax.tree.structure(model.variables)
    for ours, original in zip(
        jax.tree.leaves(back.variables), jax.tree.leaves(model.variables), strict=True
    ):
        assert ours.dtype == np.float32
        exact = dtype == "float32" or original.ndim < 2
        np.testing.assert_allclose(
            ours, original, rtol=0 if exact else 2**-11, atol=0 if exact else 2**-24
        )


def test_the_temperature_comes_back_and_is_one_in_files_without(model, good, tmp_path):
    path = tmp_path / "model.pkl"
    model_file.save(path, dataclasses.replace(model, temperature=1.375))
    assert model_file.load(path).temperature == 1.375
    document = pickle.loads(good)
    del document["temperature"]
    path.write_bytes(pickle.dumps(document, 4))
    assert model_file.load(path).temperature == 1.0


def network(classes, labels):
    architecture = {**ARCHITECTURE, "classes": classes}
    init = models.create(architecture).init
    shapes = jax.eval_shape(lambda: init(jax.random.key(0), np.zeros((1, 48, 48, 1))))
    variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    return ModelFile(architecture, variables, {}, labels=labels)


@pytest.mark.parametrize(("labels", "classes"), [("fer2013", 7), ("ferplus", 8), ("mnist", 10)])
def test_the_label_set_comes_back_and_is_known_by_its_labels_in_files_without(
    tmp_path, labels, classes
):
    path = tmp_path / "model.pkl"
    model_file.save(path, network(classes, labels))
    document = pickle.loads(path.read_bytes())
    assert document.pop("label_set") == labels
    assert document["labels"] == list(LABEL_SETS[labels])
    assert model_file.load(path).labels == labels
    path.write_bytes(pickle.dumps(document, 4))
    assert model_file.load(path).labels == labels
    assert model_file.load(path).emotions == LABEL_SETS[labels]


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (8, "fer2013", "labels must be 8, one per class, fer2013 has 7"),
        (7, "ferplus", "labels must be 7, one per class, ferplus has 8"),
        (2, "mnist", "labels must be 2, one per class, mnist has 10"),
        (7, "cifar10", "unknown label set 'cifar10': expected one of fer2013, ferplus, mnist"),
    ],
)
def test_a_label_set_that_is_unknown_or_does_not_fit_is_refused_in_one_line(
    tmp_path, classes, labels, message
):
    path = tmp_path / "model.pkl"
    with pytest.raises(InputError) as caught:
        model_file.save(path, network(classes, labels))
    assert str(caught.value) == f"{path}: {message}" and not path.exists()


def test_float16_about_halves_the_weights(model, tmp_path):
    def weights(dtype):
        model_file.save(tmp_path / "model.pkl", model, dtype)
        return sum(
            len(arg)
            for op, arg, _ in pickletools.genops((tmp_path / "model.pkl").read_bytes())
            if "BYTES" in op.name
        )

    assert weights("float16") < 0.75 * weights("float32")


def test_a_file_is_readable_with_the_standard_library_alone(good):
    document = pickle.loads(good)  # our own bytes; the opcodes below prove that no code is in them
    assert {op.name for op, _, _ in pickletools.genops(good)} <= safe_pickle.OPCODES
    assert document["input_size"] == 48 and document["labels"] == list(EMOTIONS)
    array = first_array(document["variables"])
    assert len(array["bytes"]) == np.dtype(array["dtype"]).itemsize * np.prod(
        array["shape"], dtype=int
    )


def test_tuples_are_stored_as_lists(model, tmp_path):
    path = tmp_path / "model.pkl"
    model_file.save(
        path,
        ModelFile({**ARCHITECTURE, "stages": ((2,), (3,))}, model.variables, {"seeds": (1, 2)}),
    )
    assert model_file.load(path).architecture == ARCHITECTURE and model_file.load(
        path
    ).metadata == {"seeds": [1, 2]}


def spoil(model, change):
    """`model` with `change` applied to a copy of its first kernel."""
    variables = jax.tree.map(np.array, model.variables)
    kernel = next(leaf for leaf in jax.tree.leaves(variables) if leaf.ndim >= 2)
    change(kernel)
    return ModelFile(model.architecture, variables, model.metadata)


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e6, "float16")]
)
def test_save_refuses_weights_that_are_not_finite_and_keeps_the_old_file(
    model, tmp_path, value, dtype
):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"earlier")
    with pytest.raises(InputError, match="finite"):
        model_file.save(path, spoil(model, lambda kernel: kernel.fill(value)), dtype)
    assert path.read_bytes() == b"earlier" and list(tmp_path.iterdir()) == [path]


def test_save_refuses_what_is_no_builtin(model, tmp_path):
    with pytest.raises(TypeError, match=r"Path"):
        model_file.save(
            tmp_path / "model.pkl", ModelFile(ARCHITECTURE, model.variables, {"path": tmp_path})
        )
    assert not list(tmp_path.iterdir())


class Touch:
    """Unpickling it runs a command."""

    def __init__(self, path):
        self.command = f"touch {path}"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path, refused, good, protocol):
    loot = tmp_path / "loot"
    document = {**pickle.loads(good), "metadata": Touch(loot)}
    assert "not admitted" in refused(pickle.dumps(document, protocol))
    assert not loot.exists()


def test_the_unpickler_itself_admits_no_globals(tmp_path):
    loot = tmp_path / "loot"
    with pytest.raises(InputError, match="no globals"):
        safe_pickle.BuiltinsUnpickler(io.BytesIO(pickle.dumps(Touch(loot)))).load()
    assert not loot.exists()


@pytest.mark.parametrize(
    "opcodes",
    {
        "GLOBAL": b"cos\nsystem\n",
        "INST": b"(S'true'\nios\nsystem\n",
        "STACK_GLOBAL": b"\x8c\x02os\x8c\x06system\x93",
        "EXT1": b"\x82\x01",
        "EXT4": b"\x84\x01\x00\x00\x00",
        "PERSID": b"Pname\n",
        "BINPERSID": b"NQ",
        "BUILD": b"}}b",
        "NEWOBJ": b"N)\x81",
        "BYTEARRAY8": b"\x96" + struct.pack("<Q", 2**60),
        "BINBYTES8": b"\x8e" + struct.pack("<Q", 2**60),
        "NEXT_BUFFER": b"\x97",
        "LONG_BINPUT": b"}r\xff\xff\xff\xff",  # would size the memo: 32 GiB
        "LONG4": b"\x8b\xff\xff\xff\x7f",
        "LONG": b"L" + b"9" * 5000 + b"L\n",
        "TUPLE2": b"NN\x86",  # tuples of shared tuples hash in exponential time
        "FROZENSET": b"(\x91",
        "DUP": b"N2",
    }.values(),
)
def test_opcodes_beyond_plain_builtins_are_refused(refused, opcodes):
    assert "not admitted" in refused(b"\x80\x04" + opcodes + b".")


@pytest.mark.parametrize("code", ["B", "X"])
def test_bytes_longer_than_the_file_are_refused_before_they_are_allocated(refused, code):
    assert "corrupt" in refused(b"\x80\x04" + code.encode() + struct.pack("<I", 2**32 - 1) + b"x.")


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"PK\x03\x04 a zip", b"\x89PNG\r\n\x1a\n", b"hello", b"."]
)
def test_what_is_no_pickle_is_refused(refused, data):
    refused(data)


def test_truncated_and_extended_files_are_refused(refused, good):
    for cut in np.linspace(1, len(good) - 1, 40).astype(int):
        refused(good[:cut])
    assert "after its end" in refused(good + b"\0")


@pytest.mark.parametrize("opcodes", [b"]a", b"N}s", b"h\x07", b"(u", b"\x94", b"}NN(s"])
def test_admitted_opcodes_in_an_order_without_sense_are_refused(refused, opcodes):
    refused(b"\x80\x04" + opcodes + b".")


def test_a_flood_of_opcodes_is_refused(refused):
    assert "opcodes" in refused(b"\x80\x04(" + b"}" * safe_pickle.MAX_OPCODES + b"l.")


def test_a_file_beyond_the_size_cap_is_not_read(tmp_path):
    path = tmp_path / "big.pkl"
    with path.open("wb") as stream:
        stream.truncate(model_file.MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match="at most"):
        model_file.load(path)


def laughs():
    value = []
    for _ in range(12):
        value = [value] * 8  # 8 ** 12 leaves in 13 objects
    return value


def cycle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [laughs(), cycle()], ids=["laughs", "cycle"])
@pytest.mark.parametrize("place", ["metadata", "architecture", "variables"])
def test_values_that_share_or_contain_themselves_are_refused(refused, good, place, value):
    document = pickle.loads(good)
    document[place] = {"a": value}
    assert "at most" in refused(pickle.dumps(document, 4))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "another"),
        ("version", 2),
        ("input_size", 64),
        ("labels", [*EMOTIONS[::-1]]),
        ("labels", [*EMOTIONS, "contempt"]),
        ("labels", ["cat", "dog"]),
        ("labels", None),
        ("label_set", "cifar10"),
        ("label_set", "ferplus"),
        ("label_set", ["fer2013"]),
        ("label_set", None),
        ("architecture", None),
        ("architecture", {"family": "no such family"}),
        ("metadata", []),
        ("metadata", {1: 2}),
        ("variables", {}),
        ("variables", 3),
        ("temperature", 0),
        ("temperature", float("nan")),
        ("temperature", 1e9),
        ("temperature", True),
        ("temperature", "hot"),
    ],
)
def test_a_document_that_breaks_a_rule_is_refused(refused, good, key, value):
    refused(pickle.dumps({**pickle.loads(good), key: value}, 4))


def test_a_network_of_a_thousand_layers_is_refused_before_it_is_built(refused, good):
    architecture = {**ARCHITECTURE, "stages": [[2] * 1000]}
    assert "at most 128 values" in refused(
        pickle.dumps({**pickle.loads(good), "architecture": architecture}, 4)
    )


def test_a_model_for_other_images_is_refused_with_rule_and_value(refused, good):
    message = refused(pickle.dumps({**pickle.loads(good), "input_size": 224}, 4))
    assert message.endswith("input_size must be 48, received 224")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**6, 10**6]},
        {"shape": [10**600]},
        {"shape": [-1]},
        {"shape": [2.0]},
        {"shape": [True]},
        {"shape": [1] * 100},
        {"shape": 4},
        {"dtype": "float64"},
        {"dtype": "O"},
        {"dtype": ["float32"]},
        {"bytes": "text"},
        {"bytes": b""},
        {"extra": 1},
    ],
    ids=lambda change: str(change)[:40],
)
def test_an_array_that_breaks_a_rule_is_refused(refused, good, change):
    document = pickle.loads(good)
    first_array(document["variables"]).update(change)
    refused(pickle.dumps(document, 4))


def test_a_run_of_bytes_named_many_times_counts_many_times(refused, good):
    document = pickle.loads(good)
    array = {"dtype": "float32", "shape": [2**18], "bytes": bytes(2**20)}
    document["variables"]["params"] = {f"layer{k}": {"kernel": array} for k in range(100)}
    assert "weights have at most" in refused(pickle.dumps(document, 4))


def test_weights_for_another_architecture_are_refused(refused, good):
    document = pickle.loads(good)
    wider = {**document, "architecture": {**ARCHITECTURE, "stages": [[2], [4]]}}
    assert "must have shape" in refused(pickle.dumps(wider, 4))
    params = document["variables"]["params"]
    params["renamed"] = params.pop(next(iter(params)))
    message = refused(pickle.dumps(document, 4))
    assert "missing" in message and "renamed" in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(InputError, match="no such model file"):
            model_file.load(path)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_a_mutated_file_loads_or_is_refused_in_one_line(good, tmp_path_factory, mutations):
    data = bytearray(good)
    for place, value in mutations:
        # Few of a file's bytes are structure: aim half of the mutations at its head.
        data[int(place * len(data)) if value % 2 else int(place * 600)] = value
    path = tmp_path_factory.getbasetemp() / "mutated.pkl"
    path.write_bytes(data)
    try:
        loaded = model_file.load(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
    else:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded.variables))


def test_long_names_that_would_be_written_out_for_every_weight_are_refused(model, tmp_path):
    path = tmp_path / "model.pkl"
    model_file.save(path, model)
    document = pickle.loads(path.read_bytes())
    long = "x" * 100_000
    document["variables"]["params"] = {long: document["variables"]["params"]}
    path.write_bytes(pickle.dumps(document, 4))
    with pytest.raises(InputError, match="keys in a model file have at most 200 characters"):
        model_file.load(path)
    model_file.save(path, model)
    document = pickle.loads(path.read_bytes())
    layer = next(iter(document["variables"]["params"].values()))
    next(iter(layer.values()))["dtype"] = [long] * 1000
    path.write_bytes(pickle.dumps(document, 4))
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert len(str(caught.value)) < 1000


def test_an_empty_file_is_called_empty(tmp_path):
    path = tmp_path / "model.pkl"
    path.touch()
    with pytest.raises(InputError, match=r"model\.pkl: must be a model file, is empty"):
        model_file.load(path)
