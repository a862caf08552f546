"""The fuzzer in small: what it finds is a bug in a reader; the judge is shown to catch faults."""

import mmap
import os
import pickle
import random
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_jax.data import npz as npz_reader
from fer_jax.data import sources
from fer_jax.data import tables as tables_reader
from fer_jax.errors import InputError

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

import model_inputs as models
import picture_inputs as pictures
import table_inputs as tables
import worker
from judge import Judge
from targets import TARGETS, Target


@pytest.fixture(scope="module")
def judge():
    with Judge() as judge:
        yield judge


@pytest.mark.parametrize("name", TARGETS)
def test_readers_accept_or_refuse_in_one_line(judge, name):
    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(st.randoms(use_true_random=False))
    def check(random):
        assert judge(name, TARGETS[name].generate(random)).fault == ""

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_some_inputs_are_accepted_and_some_refused(judge, name):
    """A fuzzer whose inputs all stop at the first check tests nothing behind it."""
    outcomes = (judge(name, TARGETS[name].generate(random.Random(seed))) for seed in range(100))
    first = next(outcomes)
    assert any(outcome.accepted != first.accepted for outcome in outcomes)


# What the fuzzer found, or would take long to find


def huge(segment):
    """A JPEG's start of frame, claiming 8191x8191."""
    return pictures.resized(segment, 8191, 8191)


def scans(count):
    *head, end = map(huge, pictures.jpeg_segments(2))
    return b"".join([*head, *[segment for segment in head if segment[1] == 0xDA] * count, end])


def model(**changes):
    return pickle.dumps(pickle.loads(models.good()) | changes, 4)


def npz(header):
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header
    return tables.zip_of([("train_images.npy", array)])


def misnamed():
    """An archive whose directory flags a name as UTF-8, which it is not."""
    whole = tables.zip_of([("fer2013\u00e9.csv", b"x\n")])
    return whole.replace("\u00e9".encode(), b"\xff\xfe")


def endless():
    """A 48x48 PNG whose end claims to be 2 GB long."""
    whole = pictures.encoded(".png", 0)
    at = whole.rindex(b"IEND")
    return whole[: at - 4] + b"\x7f\xff\xff\xff" + whole[at:]


def vgg(stages):
    return model(architecture={"family": "vgg", "stages": stages})


TENSOR = {"a": {"dtype": "float32", "shape": [10**12], "bytes": b"abcd"}}
LONG_HEADER = b"{'descr': '" + b"x" * 9000 + b"'}"
FOLDED = "d/" * 30_000 + "fer2013.csv"
GIANT = [(b"IHDR", b"\0\0\x79\0\0\0\x79\0\x08\2\0\0\0")]
FINDINGS = {  # the reader, the file, and what makes it
    "64 MB of line breaks in 64 kB": ("zip", "a.zip", lambda: tables.zip_bomb(b"\n")),
    "a member's name of 60 kB": ("zip", "a.zip", lambda: tables.zip_of([(FOLDED, b"x\n")])),
    "a member's name that is no UTF-8": ("zip", "a.zip", misnamed),
    "a folder in an archive's place": ("zip", "a.zip/train.csv", bytes),
    "a directory that lies before the file": (
        *("npz", "fer2013.npz"),
        lambda: npz(b"")[:-6] + b"\xff\xff\xff\x7f\0\0",
    ),
    "an array header with deep brackets": ("npz", "fer2013.npz", lambda: npz(b"(" * 5000)),
    "an array header with much to say": ("npz", "fer2013.npz", lambda: npz(LONG_HEADER)),
    "a folder with a line break": ("folders", "train/a\nb/x.png", bytes),
    "a folder in a picture's place": ("folders", "train/happy/x.png/y", bytes),
    "a picture of 48 x 48 that claims more": ("folders", "train/happy/x.jpg", lambda: scans(1)),
    "a PNG chunk of 1.2 GB": ("picture", "picture", lambda: pictures.PNG + b"IDATIDAT" * 9),
    "a PNG's last chunk of 2 GB": ("picture", "picture", endless),
    "a face's last chunk of 2 GB": ("folders", "train/happy/x.png", endless),
    "a PNG of 3 GB": ("picture", "picture", lambda: pictures.png_bytes(GIANT)),
    "a JPEG of 1000 passes": ("picture", "picture", lambda: scans(100)),
    "a name of 100 kB": ("model", "model.pkl", lambda: model(variables={"x" * 10**5: 1})),
    "a tensor of 10^12": ("model", "model.pkl", lambda: model(variables=TENSOR)),
    "250 layers": ("model", "model.pkl", lambda: vgg([[2] * 250])),
    "a million stages": ("model", "model.pkl", lambda: vgg([[2]] * 10**6)),
    "a width of 10^9": ("model", "model.pkl", lambda: vgg([[10**9] * 3])),
}


@pytest.mark.parametrize(("name", "path", "make"), FINDINGS.values(), ids=FINDINGS)
def test_findings_are_refused_soon_and_cheaply(judge, name, path, make):
    files = {path: make()}
    if name == "folders":
        files |= {"test/happy/PublicTest_1.png": pictures.encoded(".png", 0)}
    outcome = judge(name, files)
    assert (outcome.accepted, outcome.fault) == (False, "")
    assert outcome.peak < 2**28


def test_files_and_arrays_of_too_many_rows_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables_reader, "MAX_ROWS", 4)
    monkeypatch.setattr(npz_reader, "MAX_ROWS", 4)
    (tmp_path / "fer2013.csv").write_bytes(tables.csv_of("fer2013.csv"))
    with pytest.raises(InputError, match=r"fer2013.csv: must have at most 4 lines, has more"):
        sources.find(tmp_path).read()
    (tmp_path / "fer2013.csv").unlink()
    images = np.zeros((5, 48, 48), np.uint8)
    np.savez(tmp_path / "fer2013.npz", train_images=images)
    with pytest.raises(
        InputError,
        match=r"train_images must be uint8 \[N, 48, 48\], received uint8 of shape \(5, 48, 48\)",
    ):
        sources.find(tmp_path).read()


# The judge


def refuse(message):
    raise InputError(message)


def unpickle(folder):
    pickle.loads((folder / "model.pkl").read_bytes())


def swell(folder):
    """Outside the heap, where memory that earlier tests have freed would be taken first."""
    with mmap.mmap(-1, 2**28) as memory:
        for page in range(0, len(memory), mmap.PAGESIZE):
            memory[page] = 1


FAULTS = {
    "another exception": (lambda folder: {}["missing"], "raised KeyError: 'missing'"),
    "no memory": (lambda folder: bytearray(2**62), "raised MemoryError"),
    "a warning": (lambda folder: warnings.warn("odd", stacklevel=1), "raised UserWarning"),
    "an exit": (lambda folder: sys.exit(0), "raised SystemExit"),
    "a long message": (lambda folder: refuse("x" * 1001), "a message of 1,001 characters"),
    "execution": (unpickle, "executed code from the file"),
    "memory": (swell, "took 2"),
}


@pytest.mark.parametrize(("read", "fault"), FAULTS.values(), ids=FAULTS)
def test_faults_are_seen(read, fault, tmp_path, monkeypatch):
    if read is swell and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak of memory")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, "MEMORY", 2**26)
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"cbuiltins\nopen\n(Vexecuted\nVw\ntR.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ResourceWarning)  # the file that the pickle opens
        assert worker.examine(Target(None, read), folder)["fault"].startswith(fault)


def test_a_message_of_two_lines_is_seen(tmp_path):
    class Careless(InputError):
        def __str__(self):
            return "two\nlines"

    def read(folder):
        raise Careless("")

    assert "more than one plain line" in worker.examine(Target(None, read), tmp_path)["fault"]


def test_what_is_refused_in_one_line_has_no_fault(tmp_path):
    assert worker.examine(Target(None, lambda folder: refuse("x" * 900)), tmp_path)["fault"] == ""


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import time; time.sleep(60)", "took more than 0.5 s"),
        ("import os; os._exit(9)", "the process died with status 9"),
    ],
)
def test_a_hang_and_a_crash_are_seen_and_survived(code, fault):
    program = f"print('ready', flush=True); input(); {code}"
    with Judge(seconds=0.5, command=(sys.executable, "-c", program)) as judge:
        assert [judge("csv", {}).fault for _ in range(2)] == [fault, fault]


# The command


def run(*arguments, **environment):
    command = [sys.executable, FUZZ / "fuzz.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_command_counts_every_input(tmp_path):
    done = run("--inputs", "12", "--targets", "csv,npz", "--out", tmp_path / "faults")
    assert done.returncode == 0 and done.stderr == ""
    rows = [line.split() for line in done.stdout.splitlines()]
    for row, name in zip(rows[1:3], ("csv", "npz"), strict=True):
        inputs, refused, accepted, faults = map(int, row[1:5])
        assert (row[0], inputs, refused + accepted, faults) == (name, 6, 6, 0)
    assert not (tmp_path / "faults").exists()


def test_the_command_names_an_unknown_target():
    done = run("--targets", "csv,tea")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "'tea'" in done.stderr
