"""The cache: `load` from synthetic CSV files, and from the real ones where they are at hand."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer_jax import data as room
from fer_jax.data import npz, prepare, protocols, tables
from fer_jax.data.fer2013 import DataWarning, Fer2013, Split, bundle
from fer_jax.errors import InputError

# synthetic files are short
pytestmark = pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")
STORES = ["tfds", "npz"]


def random_data(seed: int, sizes: tuple[int, int, int] = (150, 8, 6)) -> Fer2013:
    """More training rows than fit into two records; an image that ends in zeros."""
    rng = np.random.default_rng(seed)
    splits = [
        Split(rng.integers(0, 256, (n, 48, 48), np.uint8), rng.integers(0, 7, n).astype(np.int32))
        for n in sizes
    ]
    splits[0].images[[63, -1], 20:] = 0
    return bundle(*splits)


def write_csv(data: Fer2013, directory: Path) -> None:
    with (directory / "fer2013.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("emotion", "pixels", "Usage"))
        for usage, split in data.splits.items():
            for image, label in zip(*split, strict=True):
                writer.writerow((label, " ".join(map(str, image.ravel())), usage))


@pytest.fixture(params=STORES)
def store(request, monkeypatch) -> str:
    if request.param == "npz":
        monkeypatch.setattr(prepare, "_builder", lambda: None)
    else:
        pytest.importorskip("tensorflow_datasets")
        pytest.importorskip("array_record.python.array_record_module")
    return request.param


@pytest.fixture
def unread(monkeypatch):
    """A source that fails when it is parsed: what is loaded then came from the prepared files."""

    def fail(openers):
        raise AssertionError("parsed again")

    return lambda: monkeypatch.setattr(tables, "read", fail)


def prepared_files(directory: Path) -> list[Path]:
    made = [
        path
        for name in ("tfds", "prepared")
        for path in (directory / name).rglob("*")
        if path.is_file()
    ]
    return sorted(made, key=lambda path: path.stat().st_size)


def test_second_start_reads_the_prepared_files(store, unread, tmp_path, capsys):
    data = random_data(0)
    write_csv(data, tmp_path)
    assert room.load(tmp_path).digest == data.digest
    unread()
    again = room.load(tmp_path)
    for expected, received in zip(data[:3], again[:3], strict=True):
        np.testing.assert_array_equal(received.images, expected.images)
        np.testing.assert_array_equal(received.labels, expected.labels)
        assert (received.images.dtype, received.labels.dtype) == (np.uint8, np.int32)
    assert again.digest == data.digest
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_changed_source_of_the_same_size_and_time_is_prepared_anew(store, tmp_path):
    write_csv(random_data(0), tmp_path)
    room.load(tmp_path)
    path = tmp_path / "fer2013.csv"
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"PublicTest", b"PublicTesT", 0)[:-20].replace(b" 11 ", b" 12 ", 1)
        + content[-20:]
    )
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    expected = room.load(tmp_path, cache=False)
    assert expected.digest != random_data(0).digest
    assert room.load(tmp_path).digest == expected.digest


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_damaged_prepared_files_are_made_again(store, damage, tmp_path, capsys):
    data = random_data(0)
    write_csv(data, tmp_path)
    room.load(tmp_path)
    for place in range(len(prepared_files(tmp_path))):
        victim = prepared_files(tmp_path)[place]
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 255
        new = {"cut": content[: len(content) // 2], "flip": content, "empty": b""}.get(damage)
        victim.unlink() if new is None else victim.write_bytes(new)
        assert room.load(tmp_path).digest == data.digest
    assert "Traceback" not in capsys.readouterr().err


def test_cut_records_are_noted_and_replaced(store, unread, tmp_path, capsys):
    data = random_data(0)
    write_csv(data, tmp_path)
    room.load(tmp_path)
    largest = prepared_files(tmp_path)[-1]
    largest.write_bytes(largest.read_bytes()[:-5000])
    capsys.readouterr()
    room.load(tmp_path)
    notes = capsys.readouterr().err.splitlines()
    assert (
        len(notes) == 1
        and notes[0].startswith("note: ")
        and notes[0].endswith("preparing it again")
    )
    unread()
    assert room.load(tmp_path).digest == data.digest


def test_prepared_files_of_other_arrays_are_not_trusted(tmp_path):
    builder = pytest.importorskip("fer_jax.data.builder", exc_type=ImportError)
    data = random_data(0)
    builder.write(data, tmp_path / "key")
    metadata = next((tmp_path / "key").rglob("metadata.json"))
    metadata.write_text(metadata.read_text().replace(data.digest, random_data(1).digest))
    with pytest.raises(InputError, match="must hold the arrays with the digest"):
        builder.read(tmp_path / "key")


def test_what_another_process_prepared_meanwhile_is_whole_until_it_is_replaced(
    unread, tmp_path, monkeypatch
):
    pytest.importorskip("array_record.python.array_record_module")
    builder = pytest.importorskip("fer_jax.data.builder")
    write, data = builder.write, random_data(0)
    write_csv(data, tmp_path)

    def late(data, folder):
        monkeypatch.setattr(builder, "write", write)
        room.load(tmp_path)
        before = prepared_files(tmp_path)
        write(data, folder)
        assert before and all(path.is_file() for path in before)

    monkeypatch.setattr(builder, "write", late)
    room.load(tmp_path)
    unread()
    assert room.load(tmp_path).digest == data.digest
    assert len(list((tmp_path / "tfds").iterdir())) == 1


def test_a_file_with_training_rows_only_can_be_prepared(store, unread, tmp_path):
    data = random_data(0, (70, 0, 0))
    write_csv(data, tmp_path)
    assert room.load(tmp_path).digest == data.digest
    unread()
    assert room.load(tmp_path).digest == data.digest


def test_the_test_rows_with_emotions_are_always_those_of_the_data(store, tmp_path):
    path = tmp_path / prepare.TEST_CSV
    for seed in (0, 1, 0):  # the third start finds the first one's prepared files
        write_csv(random_data(seed), tmp_path)
        room.load(tmp_path)
        rows = list(csv.reader(path.read_text().splitlines()))[1:]
        assert [int(row[0]) for row in rows] == random_data(seed).test.labels.tolist()
        np.testing.assert_array_equal(
            [row[1].split() for row in rows],
            random_data(seed).test.images.reshape(14, -1).astype(str),
        )
    before = path.stat().st_mtime_ns
    room.load(tmp_path)
    assert path.stat().st_mtime_ns == before  # not written at every start
    path.unlink()
    room.load(tmp_path)
    assert path.exists()


def test_no_cache_writes_nothing(tmp_path):
    data = random_data(0)
    write_csv(data, tmp_path)
    assert room.load(tmp_path, cache=False).digest == data.digest
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013.csv"]


def test_an_npz_is_used_as_it_is(tmp_path):
    data = random_data(0)
    npz.save(data, tmp_path / "fer2013.npz")
    assert room.load(tmp_path).digest == data.digest
    assert [path.name for path in tmp_path.iterdir()] == ["fer2013.npz"]


def test_a_failed_write_costs_a_note(store, tmp_path, monkeypatch, capsys):
    data = random_data(0)
    write_csv(data, tmp_path)
    for name in ("tfds", "prepared"):
        (tmp_path / name).write_text("a file where the folder should be")
    assert room.load(tmp_path).digest == data.digest
    err = capsys.readouterr().err
    assert err.startswith("note: ") and len(err.splitlines()) == 1


def test_a_full_disk_costs_a_note_and_leaves_nothing(store, tmp_path, capsys):
    resource = pytest.importorskip("resource", reason="file size limits are POSIX's")
    data = random_data(0)
    write_csv(data, tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        assert room.load(tmp_path).digest == data.digest
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capsys.readouterr().err
    assert err.startswith("note: ") and len(err.splitlines()) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "fer2013.csv"]


def test_without_tfds_one_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "fer_jax.data.builder", raising=False)
    monkeypatch.delattr(room, "builder", raising=False)
    data = random_data(0)
    write_csv(data, tmp_path)
    assert room.load(tmp_path).digest == data.digest
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 1 and "tensorflow_datasets is not installed" in notes[0]
    assert [path.suffix for path in (tmp_path / "prepared").iterdir()] == [".npz"]


def test_two_first_starts_at_once_agree(tmp_path, root):
    data = random_data(0)
    write_csv(data, tmp_path)
    load = f"data.load(Path({str(tmp_path)!r}))"
    code = f"from pathlib import Path; from fer_jax import data; print({load}.digest)"
    command = [sys.executable, "-W", "ignore", "-c", code]
    runs = [
        subprocess.Popen(
            command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in "ab"
    ]
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [out.strip() for out, _ in outputs] == [data.digest] * 2, outputs
    assert "Traceback" not in "".join(err for _, err in outputs)
    assert room.load(tmp_path).digest == data.digest


def test_test_with_emotions_holds_the_test_rows_in_order(tmp_path):
    data = random_data(0)
    write_csv(data, tmp_path)
    room.load(tmp_path)
    with (tmp_path / prepare.TEST_CSV).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["emotion"]) for row in rows] == data.test.labels.tolist()
    pixels = np.array([row["pixels"].split() for row in rows], int).reshape(-1, 48, 48)
    np.testing.assert_array_equal(pixels, data.test.images)


@pytest.mark.filterwarnings("default::fer_jax.data.DataWarning")
def test_short_data_warn_at_every_start(tmp_path):
    write_csv(random_data(0), tmp_path)
    for _ in range(2):
        with pytest.warns(DataWarning, match=r"150 Training rows \(published: 28,709\)"):
            room.load(tmp_path)


PUBLISHED_CLASSES = {
    "Training": [3995, 436, 4097, 7215, 4830, 3171, 4965],
    "PublicTest": [467, 56, 496, 895, 653, 415, 607],
    "PrivateTest": [491, 55, 528, 879, 594, 416, 626],
}


@pytest.mark.slow
def test_real_data_have_the_published_counts(shared, tmp_path):
    export = shared / "data" / "fer2013" / "export.py"
    if not export.is_file():
        pytest.skip(f"no real data: {export} is not there")
    subprocess.run(
        [sys.executable, str(export), "csv", str(tmp_path)], check=True, capture_output=True
    )
    data = room.load(tmp_path)
    for usage, split in data.splits.items():
        assert np.bincount(split.labels).tolist() == PUBLISHED_CLASSES[usage]
    assert protocols.seen_in_training(data.test, data.train).sum() == 568
    everything = np.concatenate([split.images for split in data.splits.values()])
    assert len(everything) - len(set(protocols.pixel_groups(everything).tolist())) == 1851
    split = protocols.protocol(data)
    shares = np.bincount(split.select.labels) / np.bincount(data.train.labels)
    np.testing.assert_allclose(shares, 0.1, atol=0.002)
    assert not protocols.seen_in_training(split.select, split.train).any()
