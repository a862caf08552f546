import csv
import gzip
import io
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_jax.data import sources
from fer_jax.data.prepare import save_npz
from fer_jax.data.sources import DataWarning, Fer2013, Split, bundle, find
from fer_jax.errors import InputError
from fer_jax.labels import EMOTIONS

HEADERS = {
    "train.csv": ("emotion", "pixels"),
    "test.csv": ("pixels",),
    "icml_face_data.csv": ("emotion", " Usage", " pixels"),
    "fer2013.csv": ("emotion", "pixels", "Usage"),
}
CHALLENGE = ("train.csv", "test.csv", "icml_face_data.csv")
GOOD = " ".join(["7"] * 2304)


@pytest.fixture(scope="module")
def data() -> Fer2013:
    """30 + 8 + 6 rows; the last image ends in zeros, which a careless byte string would lose."""
    rng = np.random.default_rng(1)

    def split(n: int) -> Split:
        images = rng.integers(0, 256, (n, 48, 48), np.uint8)
        images[-1, 40:] = 0
        return Split(images, rng.integers(0, 7, n).astype(np.int32))

    return bundle(split(30), split(8), split(6))


def write_csv(data: Fer2013, path: Path) -> None:
    header = HEADERS[path.name]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for usage, split in data.splits.items():
            if (path.name == "train.csv" and usage != "Training") or (
                path.name == "test.csv" and usage == "Training"
            ):
                continue
            for image, label in zip(*split, strict=True):
                cells = {
                    "emotion": label,
                    "pixels": " ".join(map(str, image.ravel())),
                    "Usage": usage,
                }
                writer.writerow([cells[column.strip()] for column in header])


def write_folders(data: Fer2013, directory: Path, named: bool = True) -> None:
    cv2 = pytest.importorskip("cv2")
    number = 0
    for usage, split in data.splits.items():
        for image, label in zip(*split, strict=True):
            number += 1
            folder = directory / ("train" if usage == "Training" else "test") / EMOTIONS[label]
            folder.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / f"{usage if named else 'face'}_{number}.png"), image)


def write_zip(data: Fer2013, directory: Path) -> None:
    with zipfile.ZipFile(directory / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in CHALLENGE:
            write_csv(data, directory / name)
            archive.write(directory / name, f"some/folder/{name}")
            (directory / name).unlink()
        archive.writestr("example_submission.csv", "emotion\n0\n")


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    """One member of a tar archive; `fields` may lie about it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def csv_bytes(data: Fer2013, directory: Path) -> bytes:
    write_csv(data, directory / "fer2013.csv")
    content = (directory / "fer2013.csv").read_bytes()
    (directory / "fer2013.csv").unlink()
    return content


def tar_gz(*entries: bytes) -> bytes:
    return gzip.compress(b"".join(entries) + bytes(1024), 1)


def write_tar(data: Fer2013, directory: Path) -> None:
    """As in the wild: made by tar itself, CSV first."""
    with tarfile.open(directory / "fer2013.tar.gz", "w:gz") as archive:
        for name, content in (
            ("fer2013.csv", csv_bytes(data, directory)),
            ("README", b"Hello"),
            ("fer2013.bib", b"@"),
        ):
            info = tarfile.TarInfo(f"fer2013/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_nested_tar(data: Fer2013, directory: Path) -> None:
    """The challenge's zip without the file that labels the test rows."""
    write_tar(data, directory)
    with zipfile.ZipFile(directory / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(directory / "fer2013.tar.gz", "fer2013.tar.gz")
        archive.writestr("test.csv", "pixels\n")
    (directory / "fer2013.tar.gz").unlink()


def write(layout: str, data: Fer2013, directory: Path) -> None:
    if layout == "zip":
        write_zip(data, directory)
    elif layout == "tar":
        write_tar(data, directory)
    elif layout == "zip of tar":
        write_nested_tar(data, directory)
    elif layout == "folders":
        write_folders(data, directory)
    elif layout == "npz":
        save_npz(data, directory / "fer2013.npz")
    else:
        for name in layout.split("+"):
            write_csv(data, directory / name)


@pytest.mark.parametrize(
    "layout",
    [
        *("+".join(CHALLENGE), "fer2013.csv", "icml_face_data.csv", "train.csv+fer2013.csv"),
        *("zip", "tar", "zip of tar", "folders", "npz"),
    ],
)
def test_every_layout_gives_the_same_arrays(layout, data, tmp_path):
    write(layout, data, tmp_path)
    read = find(tmp_path).read()
    for expected, received in zip(data[:3], read[:3], strict=True):
        np.testing.assert_array_equal(received.images, expected.images)
        np.testing.assert_array_equal(received.labels, expected.labels)
        assert (received.images.dtype, received.labels.dtype) == (np.uint8, np.int32)
    assert read.digest == data.digest
    np.testing.assert_array_equal(
        read.test.labels, np.concatenate([data.public_test.labels, data.private_test.labels])
    )


def test_digest_depends_on_pixels_labels_and_split(data):
    pixels = data.train.images.copy()
    pixels[3, 4, 5] ^= 1
    labels = (data.train.labels + 1) % 7
    moved = bundle(data.train, data.private_test, data.public_test)
    digests = {
        data.digest,
        bundle(data.train._replace(images=pixels), *data[1:3]).digest,
        bundle(data.train._replace(labels=labels), *data[1:3]).digest,
        moved.digest,
    }
    assert len(digests) == 4


def test_raw_files_come_before_the_npz(data, tmp_path):
    write_csv(data, tmp_path / "fer2013.csv")
    (tmp_path / "fer2013.npz").write_bytes(b"made from an older file")
    assert find(tmp_path).files == (tmp_path / "fer2013.csv",)


def test_quotes_byte_order_mark_and_blank_last_line_are_fine(tmp_path):
    path = tmp_path / "fer2013.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + f'emotion,pixels,Usage\r\n3,"{GOOD}",Training\r\n\r\n'.encode()
    )
    read = find(tmp_path).read()
    assert read.train.labels.tolist() == [3]
    assert (read.train.images == 7).all()


PIXEL_CASES = {
    "3.5": "pixel 2 is '3.5'",
    "256": "pixel 2 is '256'",
    "-1": "pixel 2 is '-1'",
    "abc": "pixel 2 is 'abc'",
    "nan": "pixel 2 is 'nan'",
    "1e2": "pixel 2 is '1e2'",
    "0x1f": "pixel 2 is '0x1f'",
    "99999999999999999999": "pixel 2 is '99999999999999999999'",
    "٣": "pixel 2 is '٣'",
    "1 1": "must have 2304 pixels, received 2305",
    "": "must have 2304 pixels, received 2303",
    "\t1": "must be separated by spaces",
}


def read_csv_of(tmp_path: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Fer2013:
    (tmp_path / "fer2013.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return find(tmp_path).read()


@pytest.mark.parametrize(("token", "rule"), PIXEL_CASES.items())
def test_bad_pixels_are_refused(token, rule, tmp_path):
    bad = GOOD.replace(" 7 ", f" {token} ", 1)
    with pytest.raises(InputError) as error:
        read_csv_of(tmp_path, f"0,{GOOD},Training", f"0,{bad},Training")
    assert str(error.value).startswith(f"{tmp_path / 'fer2013.csv'}:2: ")
    assert rule in str(error.value)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (f"7,{GOOD},Training", "emotion must be an integer from 0 to 6, received '7'"),
        (f"-1,{GOOD},Training", "emotion must be an integer from 0 to 6, received '-1'"),
        (f"happy,{GOOD},Training", "emotion must be an integer from 0 to 6, received 'happy'"),
        (f"1.0,{GOOD},Training", "emotion must be an integer from 0 to 6, received '1.0'"),
        (
            f"1,{GOOD},Test",
            "Usage must be one of Training, PublicTest, PrivateTest, received 'Test'",
        ),
        (f"1,{GOOD}", "must have 3 columns, received 2"),
        (f"1,{GOOD},Training,x", "must have 3 columns, received 4"),
        (f"1,{GOOD[:400]}", "must have 3 columns, received 2"),
        ("1,,Training", "must have 2304 pixels, received 0"),
    ],
)
def test_bad_rows_are_refused(row, rule, tmp_path):
    with pytest.raises(InputError) as error:
        read_csv_of(tmp_path, f"0,{GOOD},Training", f"0,{GOOD},PublicTest", row)
    assert str(error.value) == f"{tmp_path / 'fer2013.csv'}:3: {str(error.value).split(': ', 1)[1]}"
    assert rule in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_within_its_last_row_is_refused(data, tmp_path):
    for name in CHALLENGE:
        write_csv(data, tmp_path / name)
    path = tmp_path / "train.csv"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(
        InputError,
        match=r"train.csv:30: a row must have 2304 pixels, received \d+ \(is the file cut",
    ):
        find(tmp_path).read()


def test_a_last_number_without_a_line_break_may_be_cut(tmp_path):
    (tmp_path / "icml_face_data.csv").write_text(f"emotion, Usage, pixels\n0,Training,{GOOD}")
    with pytest.warns(DataWarning, match=r"icml_face_data.csv: line 2 has no line break"):
        assert len(find(tmp_path).read().train.labels) == 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "header must name the column 'emotion' once, received ''"),
        (b"emotion,pixels,Usage\n", "must have rows after its header, received none"),
        (b"emotion,pixel,Usage\n0,1,Training\n", "header must name the column 'pixels' once"),
        (b"emotion,pixels,pixels,Usage\n", "header must name the column 'pixels' once"),
        (b"<html><body>Sign in</body></html>\n", "header must name the column 'emotion' once"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, "must be UTF-8 text"),
        (b"emotion,pixels,Usage\n0,\xff\xfe,Training\n", "line 2: must be UTF-8 text"),
        (b"emotion,pixels,Usage\n" + b"1" * (1 << 17), "line 2: must have less than 65536 bytes"),
        (b'emotion,pixels,Usage\n0,"1 2 3\n', "must be a CSV row"),
    ],
)
def test_what_is_no_fer2013_csv_is_refused(content, rule, tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        find(tmp_path).read()
    assert str(error.value).startswith(f"{tmp_path / 'fer2013.csv'}: ")
    assert rule in str(error.value)
    assert "\n" not in str(error.value)


def test_test_rows_must_equal_those_that_label_them(data, tmp_path):
    pixels = data.private_test.images.copy()
    pixels[2, 0, 0] ^= 1
    for name in CHALLENGE:
        changed = (
            bundle(*data[:2], data.private_test._replace(images=pixels))
            if name == "test.csv"
            else data
        )
        write_csv(changed, tmp_path / name)
    with pytest.raises(
        InputError, match=r"test.csv:11: pixels must equal those of row 41 of .*icml_face_data.csv"
    ):
        find(tmp_path).read()


def test_more_test_rows_than_labels_are_refused(data, tmp_path):
    for name in CHALLENGE:
        short = bundle(*data[:2], Split(*(array[:4] for array in data.private_test)))
        write_csv(short if name == "icml_face_data.csv" else data, tmp_path / name)
    with pytest.raises(
        InputError, match=r"test.csv:13: .* must label each row, it has 12 test rows for 14"
    ):
        find(tmp_path).read()


def test_missing_data_say_what_was_looked_for_and_where_to_get_it(data, tmp_path):
    with pytest.raises(InputError) as error:
        find(tmp_path / "absent")
    for part in (
        "absent",
        "train.csv",
        "fer2013.csv",
        sources.ARCHIVE,
        sources.TAR,
        sources.PAGE,
        "data/README.md",
    ):
        assert part in str(error.value)
    assert f"python scripts/download_data.py --data {tmp_path / 'absent'}" in str(error.value)
    write_csv(data, tmp_path / "train.csv")
    write_csv(data, tmp_path / "test.csv")
    with pytest.raises(
        InputError, match=r"train.csv and test.csv alone: the labels .* icml_face_data.csv"
    ):
        find(tmp_path)


def test_short_files_warn_with_both_counts(data):
    with pytest.warns(
        DataWarning, match=r"somewhere: 30 Training rows \(published: 28,709\), 8 PublicTest rows"
    ):
        sources.warn_if_short(data, "somewhere")


def test_published_counts_do_not_warn():
    def split(n: int) -> Split:
        return Split(np.zeros((n, 1, 1), np.uint8), np.zeros(n, np.int32))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sources.warn_if_short(Fer2013(*(split(n) for n in sources.PUBLISHED.values()), ""), "x")


# zip


def test_a_damaged_zip_is_refused(data, tmp_path):
    write_zip(data, tmp_path)
    whole = (tmp_path / "archive.zip").read_bytes()
    (tmp_path / "archive.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"archive.zip: must be a whole, unencrypted zip"):
        find(tmp_path)
    middle = len(whole) // 2
    (tmp_path / "archive.zip").write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(InputError, match=r"archive.zip"):
        find(tmp_path).read()


def test_a_zip_member_that_claims_too_much_is_refused(data, tmp_path, monkeypatch):
    write_zip(data, tmp_path)
    monkeypatch.setattr(sources, "_MAX_MEMBER", 1000)
    with pytest.raises(
        InputError,
        match=r"archive.zip/some/folder/icml_face_data.csv: must have at most 1000 bytes, claims",
    ):
        find(tmp_path).read()


def test_a_zip_member_is_read_no_further_than_the_cap(data, tmp_path):
    write_zip(data, tmp_path)
    path = tmp_path / "archive.zip"
    member = sources._Member(path, sources._zip_members(path)["train.csv"])
    member._left = 5000  # of the cap, whatever size the archive claims
    with (
        member,
        pytest.raises(
            InputError, match=r"archive.zip/some/folder/train.csv: must have at most .* holds more"
        ),
    ):
        member.read()


def test_an_encrypted_zip_is_refused(data, tmp_path):
    write_zip(data, tmp_path)
    path = tmp_path / "archive.zip"
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + flags] |= 1
            start = content.find(signature, start + 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match="unencrypted"):
        find(tmp_path).read()


def test_a_zip_member_packed_otherwise_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("fer2013.csv", f"emotion,pixels,Usage\n0,{GOOD},Training\n")
    with pytest.raises(
        InputError, match=r"a.zip/fer2013.csv: must be stored or deflated, received zip method 12"
    ):
        find(tmp_path).read()


def test_a_zip_cannot_break_the_line_of_its_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a\nb\x1b[2J/fer2013.csv", "emotion\n")
    with pytest.raises(InputError) as error:
        find(tmp_path).read()
    assert str(error.value).startswith(f"{tmp_path}/a.zip/a?b?[2J/fer2013.csv: the header")


# tar.gz


def find_tar(tmp_path: Path, content: bytes, nested: bool) -> sources.Source:
    if nested:
        with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("some/fer2013.tar.gz", content)
    else:
        (tmp_path / "fer2013.tar.gz").write_bytes(content)
    return find(tmp_path)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "damage", ["cut", "flip", "checksum", "text", "empty", "header", "cut within"]
)
def test_a_damaged_tar_is_refused(damage, nested, data, tmp_path):
    content = csv_bytes(data, tmp_path)
    whole = tar_gz(entry("fer2013.csv", content))
    bad = {
        "cut": whole[: len(whole) // 2],
        # told by the checksum alone
        "flip": gzip.compress(entry("fer2013.csv", content), 0).replace(b" 11 ", b" 12 ", 1),
        "checksum": whole[:-8] + bytes(4) + whole[-4:],
        "text": b"\x1f\x8bhello",
        "empty": b"\x1f\x8b",
        "header": gzip.compress(b"x" * 512),
        "cut within": gzip.compress(
            entry("fer2013.csv", content)[: -(len(content) // 2)].rpartition(b"\n")[0] + b"\n"
        ),
    }
    with pytest.raises(
        InputError, match=r"fer2013.tar.gz.*: must (be a whole tar.gz archive|have \d+ more bytes)"
    ) as error:
        find_tar(tmp_path, bad[damage], nested).read()
    assert "\n" not in str(error.value)


def test_a_tar_is_searched_past_everything_but_files(data, tmp_path):
    """Neither a folder nor a link of the right name is taken, and no name or link leads out of the
    archive.
    """
    outside = tmp_path / "outside.csv"
    outside.write_text("emotion,pixels,Usage\n")
    content = csv_bytes(data, tmp_path)
    archive = tar_gz(
        entry("fer2013.csv", kind=tarfile.DIRTYPE),
        entry("a/fer2013.csv", kind=tarfile.SYMTYPE, linkname=str(outside)),
        # as pax writes: none follow
        entry("b/fer2013.csv", kind=tarfile.LNKTYPE, linkname="../outside.csv", size=100),
        entry("x" * 300 + "/README", b"long name, in a member of its own"),
        entry("@LongLink", b"y" * 5000, kind=tarfile.GNUTYPE_LONGNAME),
        entry("fer2013new.csv", b"votes"),
        entry("../../fer2013.csv", content),
        entry("fer2013/fer2013.csv", b"a second one"),
    )
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert find_tar(tmp_path, archive, nested=False).read().digest == data.digest
    assert {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path in before
    } == before


@pytest.mark.parametrize("nested", [False, True])
def test_a_tar_without_the_table_is_not_data(nested, data, tmp_path):
    with pytest.raises(InputError, match="no FER-2013 data"):
        find_tar(tmp_path, tar_gz(entry("train.csv", b"emotion,pixels\n")), nested)
    with pytest.raises(InputError, match="no FER-2013 data"):
        find_tar(tmp_path, tar_gz(), nested)


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        (tar_gz(entry("fer2013.csv", size=1 << 40)), "a member claims 1099511627776"),
        (tar_gz(entry("bomb", bytes(3 << 20)), entry("fer2013.csv")), "a member claims 3145728"),
        (tar_gz(entry("a", bytes(600_000)), entry("b", bytes(600_000))), "a member claims 600000"),
        (tar_gz(entry("fer2013.csv", b"emotion,pixels,Usage\n"), bytes(3 << 20)), "holds more"),
        (
            tar_gz(entry("name", bytes(3 << 20), kind=tarfile.GNUTYPE_LONGNAME)),
            "a member claims 3145728",
        ),
        (tar_gz(entry("fer2013.csv", size=-512)), "a member claims -512"),
        (tar_gz(*[entry("a")] * 1001), "among its first 1000 members"),
    ],
    # a gzip file itself holds the time
    ids=["claim", "other file", "sum", "tail", "name", "negative", "members"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_tar_bomb_is_refused(archive, said, nested, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_MAX_MEMBER", 1 << 20)
    with pytest.raises(InputError) as error:
        find_tar(tmp_path, archive, nested).read()
    assert said in str(error.value)
    assert "fer2013.tar.gz: must" in str(error.value)


def test_a_tar_is_unpacked_in_pieces(data, tmp_path):
    """16 MiB of zeros before and after the table cost no memory."""
    zeros = entry("zeros", bytes(16 << 20))
    archive = tar_gz(zeros, entry("fer2013.csv", csv_bytes(data, tmp_path)), zeros)
    del zeros
    tracemalloc.start()
    try:
        assert find_tar(tmp_path, archive, nested=True).read().digest == data.digest
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# folders


def test_unnamed_test_pictures_are_split_evenly_per_emotion(data, tmp_path):
    write_folders(data, tmp_path, named=False)
    with pytest.warns(DataWarning, match="do not tell PublicTest from PrivateTest"):
        read = find(tmp_path).read()
    counts = [
        np.bincount(split.labels, minlength=7) for split in (read.public_test, read.private_test)
    ]
    assert (counts[0] - counts[1] >= 0).all() and (counts[0] - counts[1] <= 1).all()
    assert {*map(bytes, read.test.images)} == {*map(bytes, data.test.images)}


def test_half_named_test_pictures_are_refused(data, tmp_path):
    write_folders(data, tmp_path)
    picture = next((tmp_path / "test").rglob("*.png"))
    picture.rename(picture.with_name("someone.png"))
    with pytest.raises(
        InputError, match=r"someone.png: the name must start with PublicTest or PrivateTest"
    ):
        find(tmp_path).read()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "size", "colour"])
def test_bad_pictures_are_refused(suffix, damage, data, tmp_path):
    cv2 = pytest.importorskip("cv2")
    write_folders(data, tmp_path)
    shapes = {"size": (47, 48), "colour": (48, 48, 3)}
    noise = np.random.default_rng(0).integers(0, 256, shapes.get(damage, (48, 48)), np.uint8)
    content = cv2.imencode(suffix, noise)[1].tobytes()
    content = {"cut": content[: len(content) // 2], "empty": b"", "text": b"hello"}.get(
        damage, content
    )
    (tmp_path / "train" / "happy" / f"x{suffix}").write_bytes(content)
    shape_rules = {
        "size": "must be 48x48 .*received 48x47",
        "colour": "must be 48x48 and 8-bit grey",
    }
    rule = shape_rules[damage] if damage in shapes else "must be a whole PNG or JPEG"
    with pytest.raises(InputError, match=rf"x{suffix}: .*{rule}"):
        find(tmp_path).read()


def test_a_folder_of_no_emotion_is_refused_and_other_files_are_ignored(data, tmp_path):
    write_folders(data, tmp_path)
    (tmp_path / "train" / "happy" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    assert find(tmp_path).read().digest == data.digest
    (tmp_path / "train" / "contempt").mkdir()
    with pytest.raises(InputError, match=r"contempt: .*unknown emotion 'contempt'"):
        find(tmp_path)


# npz


def write_arrays(path: Path, data: Fer2013, **changed: np.ndarray) -> None:
    np.savez(path, **{**sources.npz_arrays(data), **changed})


@pytest.mark.parametrize(
    ("key", "array", "rule"),
    [
        (
            "train_images",
            np.zeros((30, 48, 48), np.float32),
            "train_images must be uint8 [N, 48, 48], received float32",
        ),
        ("train_images", np.zeros((30, 48), np.uint8), "received uint8 of shape (30, 48)"),
        (
            "train_images",
            np.zeros((29, 48, 48), np.uint8),
            "train must have one label per image, received 30 for 29",
        ),
        ("train_labels", np.zeros(30, np.int64), "train_labels must be int32 [N], received int64"),
        ("train_labels", np.full(30, 7, np.int32), "train_labels must be 0 to 6, received 7 to 7"),
        (
            "private_test_labels",
            np.full(6, -1, np.int32),
            "private_test_labels must be 0 to 6, received -1 to -1",
        ),
        ("train_labels", np.array([print] * 30, object), "received object"),
    ],
)
def test_npz_arrays_are_checked(key, array, rule, data, tmp_path):
    write_arrays(tmp_path / "fer2013.npz", data, **{key: array})
    with pytest.raises(InputError) as error:
        find(tmp_path).read()
    assert str(error.value).startswith(f"{tmp_path / 'fer2013.npz'}: ")
    assert rule in str(error.value)


def test_npz_damage_is_refused(data, tmp_path):
    path = tmp_path / "fer2013.npz"
    save_npz(data, path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[5000] ^= 255  # a pixel: found by the archive's checksum
    header = whole.replace(b"'|u1'", b"os.x}", 1)
    for content in (b"", whole[:1000], whole[:-100], bytes(damaged), header, b"PK" + bytes(500)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"fer2013.npz"):
            find(tmp_path).read()


def test_npz_header_cannot_ask_for_more_than_the_file_holds(data, tmp_path):
    arrays = sources.npz_arrays(data)
    header = (
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 48, 48), }".ljust(117)
        + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "fer2013.npz", "w") as archive:
        for key in arrays:
            archive.writestr(
                f"{key}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
            )
    with pytest.raises(
        InputError,
        match=r"train_images must be uint8 \[N, 48, 48\], received uint8 of shape \(99999999999",
    ):
        find(tmp_path).read()


def test_npz_without_an_array_is_refused(data, tmp_path):
    np.savez(tmp_path / "fer2013.npz", train_images=data.train.images)
    with pytest.raises(InputError, match="must hold the array train_labels"):
        find(tmp_path).read()
