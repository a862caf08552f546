import gc
import gzip
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from fer_jax.data import archives, fer2013
from fer_jax.data.sources import find
from fer_jax.errors import InputError

GOOD = " ".join(["7"] * 2304)


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **fields) -> bytes:
    """One member of a tar archive; `fields` may lie about it."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def tar_gz(*entries: bytes) -> bytes:
    return gzip.compress(b"".join(entries) + bytes(1024), 1)


def test_a_damaged_zip_is_refused(faces, tmp_path, write_layout):
    write_layout("zip", faces, tmp_path)
    whole = (tmp_path / "archive.zip").read_bytes()
    (tmp_path / "archive.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"archive.zip: must be a whole, unencrypted zip"):
        find(tmp_path)
    middle = len(whole) // 2
    (tmp_path / "archive.zip").write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(InputError, match=r"archive.zip: must be a whole, unencrypted zip"):
        find(tmp_path).read()


def test_a_zip_member_that_claims_too_much_is_refused(faces, tmp_path, monkeypatch, write_layout):
    write_layout("zip", faces, tmp_path)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1000)
    with pytest.raises(
        InputError,
        match=r"archive.zip/some/folder/icml_face_data.csv: must have at most 1000 bytes, claims",
    ):
        find(tmp_path).read()


def test_a_zip_member_is_read_no_further_than_the_archive_claims(faces, tmp_path, write_layout):
    write_layout("zip", faces, tmp_path)
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path) as archive:
        size = struct.pack("<I", archive.getinfo("some/folder/train.csv").file_size)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<I", 5000)))
    with pytest.raises(InputError, match="must be a whole, unencrypted zip archive: Bad CRC-32"):
        find(tmp_path).read()


def test_refused_archives_leave_no_error_for_the_garbage_collector(
    faces, tmp_path, write_layout, monkeypatch
):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    write_layout("zip", faces, tmp_path)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1000)
    with pytest.raises(InputError, match="claims"):
        find(tmp_path).read()
    (tmp_path / "archive.zip").unlink()
    (tmp_path / "fer2013.tar.gz").write_bytes(tar_gz(entry("fer2013.csv", bytes(2000))))
    with pytest.raises(InputError, match="claims"):
        find(tmp_path)
    gc.collect()
    assert raised == []


def test_an_encrypted_zip_is_refused(faces, tmp_path, write_layout):
    write_layout("zip", faces, tmp_path)
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


def find_tar(tmp_path: Path, content: bytes, nested: bool) -> fer2013.Source:
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
def test_a_damaged_tar_is_refused(damage, nested, faces, tmp_path, table):
    content = table
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


def test_a_tar_is_searched_past_everything_but_files(faces, tmp_path, table):
    """Neither a folder nor a link of the right name is taken, and no name or link leads out of the
    archive.
    """
    outside = tmp_path / "outside.csv"
    outside.write_text("emotion,pixels,Usage\n")
    content = table
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
    assert find_tar(tmp_path, archive, nested=False).read().digest == faces.digest
    assert {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path in before
    } == before


@pytest.mark.parametrize("nested", [False, True])
def test_a_tar_without_the_table_is_not_data(nested, faces, tmp_path):
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
    monkeypatch.setattr(archives, "MAX_UNPACKED", 1 << 20)
    with pytest.raises(InputError) as error:
        find_tar(tmp_path, archive, nested).read()
    assert said in str(error.value)
    assert "fer2013.tar.gz: must" in str(error.value)


def test_a_tar_is_unpacked_in_pieces(faces, tmp_path, table):
    """16 MiB of zeros before and after the table cost no memory."""
    zeros = entry("zeros", bytes(16 << 20))
    archive = tar_gz(zeros, entry("fer2013.csv", table), zeros)
    del zeros
    tracemalloc.start()
    try:
        assert find_tar(tmp_path, archive, nested=True).read().digest == faces.digest
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
