"""Compare training runs: a table of what they reached and of the config keys in which they differ,
and their curves.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fer_jax import cli, files
from fer_jax.errors import InputError

EPILOG = """examples:
  python scripts/compare_runs.py runs/vgg runs/vgg2
  python scripts/compare_runs.py runs/* --out runs/compared.png --csv runs/compared.csv

A run's folder is what scripts/train.py writes: config.json, and from the first epoch on run.json and history.csv.
"""
COLUMNS = ["epoch", "lr", "holdout_loss", "holdout_accuracy", "seconds"]
# what is needed; the rest may be another version's
CONFIG = {"name": str, "protocol": str, "seed": int, "epochs": int}


class Run(NamedTuple):
    """One folder. `log` is run.json and `history` has `COLUMNS`; both are empty before the first
    epoch has ended.
    """

    label: str
    config: dict[str, Any]  # by dotted key
    log: dict[str, Any]
    history: pd.DataFrame


def main() -> None:
    args = parse_arguments()
    for path, kinds in ((args.out, (".png", ".pdf", ".svg")), (args.csv, (".csv",))):
        if path and path.suffix not in kinds:
            raise InputError(f"{path}: must end in {' or '.join(kinds)}, received {path.suffix!r}")
    folders = {folder.resolve(): folder for folder in args.runs}.values()
    unlike = len({folder.resolve().name for folder in folders}) == len(folders)
    runs = [read(folder, folder.resolve().name if unlike else str(folder)) for folder in folders]
    rows = table(runs)
    print(rows.T.to_string(max_colwidth=32))
    if args.csv:
        with files.replacing(args.csv) as temporary:
            rows.to_csv(temporary, index_label="run")
        print(f"wrote {args.csv}")
    if args.out:
        from fer_jax import plots

        curves = {run.label: (run.history, run.log["best_epoch"]) for run in runs if run.log}
        if not curves:
            raise InputError(f"{args.out}: nothing to draw, none of the runs has finished an epoch")
        with files.replacing(args.out) as temporary:
            plots.compared_runs(curves).savefig(temporary)
        print(f"wrote {args.out}")


def read(folder: Path, label: str) -> Run:
    """The run in `folder`, finished or not, under the name of `label`.

    Raises:
        InputError: the folder holds no run, or a damaged one.
    """
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: no run there: scripts/train.py writes config.json, run.json and history.csv"
        )
    config = flat(files.read_json(folder / "config.json"))
    for key, kind in CONFIG.items():
        if not isinstance(config.get(key), kind):
            raise InputError(
                f"{folder / 'config.json'}: {key} must be of type {kind.__name__}, received {config.get(key)!r}"
            )
    if not (folder / "run.json").exists():  # written at the end of the first epoch
        return Run(label, config, {}, pd.DataFrame(columns=COLUMNS))
    history, log = read_history(folder / "history.csv"), files.read_json(folder / "run.json")
    if log.get("best_epoch") not in history["epoch"].tolist():
        raise InputError(
            f"{folder / 'run.json'}: best_epoch must be one of the log's, received {log.get('best_epoch')!r}"
        )
    return Run(label, config, log, history)


def read_history(path: Path) -> pd.DataFrame:
    """The log's `COLUMNS`, one row per epoch."""
    if not path.is_file():
        raise InputError(f"{path}: missing; scripts/train.py writes it beside run.json")
    try:
        return (
            pd.read_csv(path)
            .loc[:, COLUMNS]
            .astype({"epoch": int, **dict.fromkeys(COLUMNS[1:], float)})
        )
    # pandas' parser errors are ValueErrors, a missing column is a KeyError
    except (ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: a training log needs numbers in columns {', '.join(COLUMNS)}: {reason}"
        ) from None


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"optimizer": {"momentum": 0.9}} as {"optimizer.momentum": 0.9}."""
    leaves = {}
    for key, value in values.items():
        leaves |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return leaves


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, indexed by its label: outcome, provenance, and the config keys that are not
    the same in all.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config)
    differ = [
        key
        for key in keys
        if len({str(run.config.get(key, "")) for run in runs}) > 1 and key != "epochs"
    ]
    rows = [{key: run.config.get(key, "") for key in differ} for run in runs]
    rows = [summary(run) | row for run, row in zip(runs, rows, strict=True)]
    return pd.DataFrame(rows, index=[run.label for run in runs], dtype=object)


def summary(run: Run) -> dict[str, Any]:
    """What a run reached and what it was made from; "" for what it has not got yet."""
    best = run.history[run.history["epoch"] == run.log.get("best_epoch")]
    accuracy, loss = (
        "".join(f"{value:.4f}" for value in best[key])
        for key in ("holdout_accuracy", "holdout_loss")
    )
    minutes = round(run.history["seconds"].sum() / 60)
    return {
        **{key: run.config[key] for key in ("name", "protocol", "seed")},
        "state": state(run),
        "epochs done": f"{len(run.history)} of {run.config['epochs']}",
        "best epoch": run.log.get("best_epoch", ""),
        "hold-out accuracy": accuracy,
        "hold-out loss": loss,
        "training time": f"{minutes // 60} h {minutes % 60:02} min",
        "git revision": run.log.get("git_revision", ""),
        "data digest": str(run.log.get("data_digest", ""))[:12],
    }


def state(run: Run) -> str:
    """Whether the last epoch was reached, early stopping ended the run, or it goes on still or was
    cut.
    """
    if len(run.history) >= run.config["epochs"]:
        return "finished"
    return "stopped early" if run.log.get("stopped") else "unfinished"


def parse_arguments() -> argparse.Namespace:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=style)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="folder of a run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="draw the hold-out curves (.png, .pdf or .svg)"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table, one row per run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))
