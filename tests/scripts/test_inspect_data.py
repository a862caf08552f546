"""scripts/inspect_data.py, on a few synthetic rows."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "inspect_data.py"
VOTES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"

# synthetic data are short
pytestmark = pytest.mark.filterwarnings("ignore::fer_jax.data.DataWarning")


@pytest.fixture
def folder(tmp_path):
    """Training row 2 is blank, row 5 a copy of row 4 under another label, PublicTest row 1 is row 6
    of Training.
    """
    random = np.random.default_rng(0)
    arrays = {}
    for split, copies in (("train", 2), ("public_test", 1), ("private_test", 1)):
        arrays[f"{split}_labels"] = np.tile(np.arange(7, dtype=np.int32), copies)
        arrays[f"{split}_images"] = random.integers(0, 256, (7 * copies, 48, 48), np.uint8)
    arrays["train_images"][1] = 0
    arrays["train_images"][4] = arrays["train_images"][3]
    arrays["public_test_images"][0] = arrays["train_images"][5]
    np.savez(tmp_path / "fer2013.npz", allow_pickle=False, **arrays)
    return tmp_path


def test_table_counts_and_pictures(run_script, folder, capsys):
    out = folder / "new" / "inspection"
    assert run_script("inspect_data", "--data", folder, "--out", out) == 0
    report = json.loads((out / "inspection.json").read_text())
    assert report["classes"]["Training"] == dict.fromkeys(
        ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"], 2
    )
    rows = dict(zip(("Training", "PublicTest", "PrivateTest", "all"), (3, 1, 0, 4), strict=True))
    assert report["findings"]["copies"] == rows | {"groups": 2, "surplus": 2}
    rows = dict(zip(rows, (1, 0, 0, 1), strict=True))
    assert report["findings"]["blank"] == rows
    table = pd.read_csv(out / "inspection.csv")
    (leak,) = table[table.finding == "test_rows_in_training"].to_dict("records")
    assert (leak["split"], leak["row"], leak["file_row"], leak["value"]) == ("PublicTest", 1, 15, 6)
    copies = ["copies", "copies_across_splits", "copies_with_conflicting_labels"]
    pictures = ["blank", *copies, "test_rows_in_training"]
    assert sorted(path.stem for path in out.glob("*.png")) == pictures
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    assert len(list(out.iterdir())) == 2 + len(pictures)  # no temporary file is left
    printed = capsys.readouterr().out
    assert f"not_a_face: not looked for: {folder / 'fer2013new.csv'} is not there" in printed


def test_votes_in_the_data_folder_are_used_and_old_pictures_go(run_script, folder, capsys):
    rows = [
        f"{usage},x.png,10,0,0,0,0,0,0,0,0,0"
        for usage, n in (("Training", 14), ("PublicTest", 7))
        for _ in range(n)
    ]
    rows += ["PrivateTest,x.png,0,0,0,0,0,0,0,0,0,10"] * 7
    votes = folder / "fer2013new.csv"
    votes.write_text("\n".join([VOTES, *rows]) + "\n")
    (folder / "blurred.png").write_bytes(b"from an earlier run on other data")
    assert run_script("inspect_data", "--data", folder, "--out", folder) == 0
    report = json.loads((folder / "inspection.json").read_text())
    expected = {"Training": 0, "PublicTest": 0, "PrivateTest": 7, "all": 7}
    assert report["findings"]["not_a_face"] == expected
    assert (folder / "not_a_face.png").is_file() and not (folder / "blurred.png").exists()
    votes.write_text(VOTES + "\n" + rows[0] + "\n")
    capsys.readouterr()
    assert run_script("inspect_data", "--data", folder, "--out", folder / "never") == 2
    assert capsys.readouterr().err.startswith(f"error: {votes}: must have 14 Training rows")
    assert not (folder / "never").exists()


def test_missing_data_as_typed(tmp_path):
    failed = subprocess.run(
        [sys.executable, SCRIPT, "--data", tmp_path / "none"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert failed.returncode == 2
    lines = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "no FER-2013 data" in lines[0] and "Traceback" not in failed.stderr
