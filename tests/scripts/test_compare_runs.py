import csv
import functools
import json
import shutil

import pytest

from fer_jax import config as configs
from fer_jax import files
from fer_jax.config import Config, Optimizer
from fer_jax.training import compare

COLUMNS = "epoch,lr,train_loss,train_accuracy,holdout_loss,holdout_accuracy,seconds"
ROWS = ("1,0.1,1.5,0.4,1.6,0.35,90", "2,0.05,1.2,0.5,1.3,0.45,90", "3,0.001,1.0,0.6,1.4,0.40,90")
BASE = Config("vgg", {"family": "vgg", "stages": [[2], [3]]}, epochs=3)


@pytest.fixture
def run(run_script):
    """Run the script in this process; its exit code."""
    return functools.partial(run_script, "compare_runs")


def write(folder, config=BASE, rows=ROWS, **log):
    """A run's folder as `training.loop.fit` leaves it; without rows, as it is before the first
    epoch has ended.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(configs.to_dict(config)))
    if rows:
        (folder / "history.csv").write_text("\n".join([COLUMNS, *rows, ""]))
        values = {"best_epoch": 2, "git_revision": "abc123", "data_digest": "0123456789abcdef"}
        (folder / "run.json").write_text(json.dumps(values | log))
    return folder


def read_table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_holds_what_a_run_reached_and_where_it_differs(run, tmp_path, capsys):
    other = Config(
        "vgg",
        BASE.model | {"dropout": 0.5},
        epochs=4,
        seed=7,
        optimizer=Optimizer(learning_rate=0.02),
    )
    first, second = (
        write(tmp_path / "first"),
        write(tmp_path / "second", other, ROWS[:1], best_epoch=1),
    )
    assert run(first, second, "--csv", tmp_path / "table.csv") == 0
    rows = read_table(tmp_path / "table.csv")
    common = {
        "name": "vgg",
        "protocol": "train-only",
        "git revision": "abc123",
        "data digest": "0123456789ab",
    }
    assert rows == [
        common
        | {
            "run": "first",
            "seed": "0",
            "state": "finished",
            "epochs done": "3 of 3",
            "best epoch": "2",
        }
        | {"hold-out accuracy": "0.4500", "hold-out loss": "1.3000", "training time": "0 h 04 min"}
        | {"optimizer.learning_rate": "0.1", "model.dropout": ""},
        common
        | {
            "run": "second",
            "seed": "7",
            "state": "unfinished",
            "epochs done": "1 of 4",
            "best epoch": "1",
        }
        | {"hold-out accuracy": "0.3500", "hold-out loss": "1.6000", "training time": "0 h 02 min"}
        | {"optimizer.learning_rate": "0.02", "model.dropout": "0.5"},
    ]
    printed = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines()}
    assert set(rows[0]) - {"run"} <= printed and "augment.flip" not in printed


@pytest.mark.parametrize(
    ("epochs", "stopped", "state"),
    [(3, "", "finished"), (9, "", "unfinished"), (9, "no better epoch than 2", "stopped early")],
)
def test_early_stopping_is_told_from_a_run_that_goes_on(tmp_path, epochs, stopped, state):
    folder = write(tmp_path / "run", Config("vgg", BASE.model, epochs=epochs), stopped=stopped)
    assert compare.table([compare.read(folder, "run")])["state"].tolist() == [state]


def test_a_run_in_its_first_epoch_is_in_the_table_but_has_no_curve(run, tmp_path, capsys):
    young = write(tmp_path / "young", rows=())
    assert run(young, "--csv", tmp_path / "table.csv") == 0
    (row,) = read_table(tmp_path / "table.csv")
    assert (row["state"], row["epochs done"], row["best epoch"]) == ("unfinished", "0 of 3", "")
    assert run(young, "--out", tmp_path / "runs.png") == 2
    assert "none of the runs has finished an epoch" in capsys.readouterr().err
    assert run(young, write(tmp_path / "old"), "--out", tmp_path / "runs.png") == 0
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_told_apart_by_their_folders(run, tmp_path):
    folders = [tmp_path / parent / "vgg" for parent in "ab"]
    for folder in folders:
        folder.parent.mkdir()
        write(folder)
    assert run(*folders, folders[0], "--csv", tmp_path / "table.csv") == 0
    assert [row["run"] for row in read_table(tmp_path / "table.csv")] == [
        str(folder) for folder in folders
    ]


def test_what_train_writes_is_read(root, tmp_path):
    shipped = root / "results" / "model"  # without config.json, which run.json holds too
    log = files.read_json(shipped / "run.json")
    for name in ("run.json", "history.csv"):
        shutil.copy(shipped / name, tmp_path)
    files.write_json(tmp_path / "config.json", log["config"])
    run = compare.read(tmp_path, "shipped")
    assert run.history["epoch"].tolist() == [*range(1, log["epochs_done"] + 1)]
    assert run.config["optimizer.learning_rate"] == log["config"]["optimizer"]["learning_rate"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "run: no run there"),
        ("config.json", b"{", "config.json: must be JSON"),
        ("config.json", b"[" * 10**5, "config.json: must be JSON"),
        ("config.json", b"\xff", "config.json: must be JSON"),
        ("config.json", b"[]", "config.json: must be a JSON object, received list"),
        (
            "config.json",
            b'{"name": "x"}',
            "config.json: protocol must be of type str, received None",
        ),
        ("run.json", b"3", "run.json: must be a JSON object, received int"),
        ("run.json", b"{}", "run.json: best_epoch must be one of the log's epochs, received None"),
        ("run.json", b'{"best_epoch": 9}', "received 9"),
        ("run.json", b'{"best_epoch": [2]}', "received [2]"),
        ("history.csv", None, "history.csv: no training log there"),
        ("history.csv", b"", "history.csv: a training log needs numbers"),
        ("history.csv", b"a,b\n1,2\n", "history.csv: a training log needs numbers"),
        ("history.csv", "\n".join([COLUMNS, *ROWS]).replace("1.3", "oops").encode(), "oops"),
        ("history.csv", COLUMNS.encode(), "at least one epoch, received none"),
        ("history.csv", b"\0\n\xff", "history.csv: a training log needs numbers"),
    ],
)
def test_a_broken_or_foreign_folder_is_one_line(run, tmp_path, capsys, file, content, said):
    good, bad = write(tmp_path / "good"), write(tmp_path / "run")
    (bad / file).write_bytes(content) if content is not None else (bad / file).unlink()
    assert run(good, bad, "--out", tmp_path / "runs.png", "--csv", tmp_path / "runs.csv") == 2
    captured = capsys.readouterr()
    assert said in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""
    assert not (tmp_path / "runs.png").exists() and not (tmp_path / "runs.csv").exists()


def test_outputs_of_another_kind_are_refused(run, tmp_path, capsys):
    good = write(tmp_path / "good")
    assert (
        run(good, "--out", tmp_path / "runs.exe") == 2
        and run(good, "--csv", tmp_path / "runs.xlsx") == 2
    )
    first, second = capsys.readouterr().err.splitlines()
    assert "'.exe'" in first and "'.xlsx'" in second
