from pathlib import Path

import pytest

from fer_jax.data import DataWarning, Fer2013, Split
from fer_jax.data.fer2013 import bundle
from fer_jax.data.sources import find
from fer_jax.errors import InputError

CHALLENGE = "train.csv+test.csv+icml_face_data.csv"
GOOD = " ".join(["7"] * 2304)


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
        (f" ,{GOOD},Training", "emotion must be an integer from 0 to 6, received ' '"),
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


def test_a_file_cut_within_its_last_row_is_refused(faces, tmp_path, write_layout):
    write_layout(CHALLENGE, faces, tmp_path)
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


def test_test_rows_must_equal_those_that_label_them(faces, tmp_path, write_layout):
    pixels = faces.private_test.images.copy()
    pixels[2, 0, 0] ^= 1
    for name in CHALLENGE.split("+"):
        changed = (
            bundle(*faces[:2], faces.private_test._replace(images=pixels))
            if name == "test.csv"
            else faces
        )
        write_layout(name, changed, tmp_path)
    with pytest.raises(
        InputError, match=r"test.csv:11: pixels must equal those of row 41 of .*icml_face_data.csv"
    ):
        find(tmp_path).read()


def test_more_test_rows_than_labels_are_refused(faces, tmp_path, write_layout):
    for name in CHALLENGE.split("+"):
        short = bundle(*faces[:2], Split(*(array[:4] for array in faces.private_test)))
        write_layout(name, short if name == "icml_face_data.csv" else faces, tmp_path)
    with pytest.raises(
        InputError, match=r"test.csv:13: .* must label each row, it has 12 test rows for 14"
    ):
        find(tmp_path).read()
