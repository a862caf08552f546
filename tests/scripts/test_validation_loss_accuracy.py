import functools
import json

import pytest
from matplotlib.figure import Figure

from fer_jax import plots

COLUMNS = "epoch,lr,train_loss,train_accuracy,holdout_loss,holdout_accuracy,seconds"
LOG = f"{COLUMNS}\n1,0.1,1.5,0.4,1.6,0.35,9\n2,0.1,1.2,0.5,1.3,0.45,9\n3,0.1,1.0,0.6,1.4,0.40,9\n"


@pytest.fixture
def run(run_script):
    """Run the script in this process; its exit code."""
    return functools.partial(run_script, "validation_loss_accuracy")


def write(folder, log=LOG, run='{"best_epoch": 2}'):
    (folder / "history.csv").write_text(log)
    (folder / "run.json").write_text(run)


def test_the_curves_are_drawn_beside_the_log_or_where_asked(run, tmp_path, capsys):
    write(tmp_path)
    elsewhere = tmp_path / "figures" / "curves.svg"
    assert run("--run", tmp_path) == 0 and run("--run", tmp_path, "--out", elsewhere) == 0
    assert (tmp_path / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    assert elsewhere.read_text().startswith("<?xml")
    assert capsys.readouterr().out.splitlines()[1] == f"{elsewhere}: 3 epochs, restored epoch 2"


def test_parts_of_one_training_are_drawn_one_after_the_other(run, tmp_path, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        plots, "learning_curves", lambda *arguments: drawn.append(arguments) or Figure()
    )
    folders = [tmp_path / name for name in ("first", "second", "third")]
    for folder in folders:
        folder.mkdir()
        write(folder)
    assert run("--run", *folders) == 0
    history, best_epoch, restarts = drawn[0]
    assert history["epoch"].tolist() == list(range(1, 10))
    assert history["train_loss"].tolist() == [1.5, 1.2, 1.0] * 3
    assert (best_epoch, restarts) == (8, [3, 6])
    assert (
        capsys.readouterr().out
        == f"{folders[2] / 'learning_curves.png'}: 9 epochs, restored epoch 8\n"
    )


@pytest.mark.parametrize(
    ("log", "run_json", "said"),
    [
        ("", "{}", "history.csv: "),
        (COLUMNS, "{}", "at least one epoch"),
        ("a,b\n1,2\n", "{}", "history.csv: "),
        (LOG.replace("1.2", "oops"), "{}", "oops"),
        (LOG + "4,1,1,1,1,1,1,1,1,1\n", "{}", "line 5"),
        ("\0\n\0", "{}", "history.csv: "),
        (LOG, "", "run.json: "),
        (LOG, "[]", "run.json: "),
        (LOG, "{}", "best_epoch"),
        (LOG, '{"best_epoch": 7}', "received 7"),
        (LOG, '{"best_epoch": [1]}', "received [1]"),
    ],
)
def test_a_broken_log_is_one_line_and_leaves_the_picture(
    run, tmp_path, capsys, log, run_json, said
):
    write(tmp_path, log, run_json)
    (tmp_path / "learning_curves.png").write_bytes(b"earlier")
    assert run("--run", tmp_path) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert (tmp_path / "learning_curves.png").read_bytes() == b"earlier"


def test_a_missing_log_and_a_strange_picture_format_are_refused(run, tmp_path, capsys):
    assert run("--run", tmp_path) == 2
    assert "history.csv: no training log" in capsys.readouterr().err
    write(tmp_path)
    assert run("--run", tmp_path, "--out", tmp_path / "curves.exe") == 2
    assert "'.exe'" in capsys.readouterr().err
    assert (
        json.loads((tmp_path / "run.json").read_text()) and not (tmp_path / "curves.exe").exists()
    )
