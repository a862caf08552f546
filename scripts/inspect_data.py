"""Say what is wrong with the data: counts on stdout, every row in a table, examples as pictures."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from fer_jax import cli, files
from fer_jax.labels import EMOTIONS, NUM_CLASSES

EPILOG = """examples:
  python scripts/inspect_data.py --data data
  python scripts/inspect_data.py --data data --out somewhere/else

Writes inspection.csv (a line for each finding and row), inspection.json (the counts) and NAME.png (up to 60 examples of
each finding). `row` counts from 1 within its split, as in train.csv; `file_row` is the row of fer2013.csv and
icml_face_data.csv. With FER+'s fer2013new.csv in the data folder, rows that are not a face are found, too.
The pictures show FER-2013 images: keep them out of version control, as the folder data/ is.
"""
EXAMPLES = 60


def main() -> None:
    args = parse_arguments()
    import pandas as pd

    from fer_jax import data
    from fer_jax.data import ferplus, inspect

    faces = data.load(args.data)
    path = args.data / ferplus.FILE
    votes = ferplus.read(path, faces) if path.is_file() else None
    findings = inspect.inspect(faces, votes)
    counted = {
        usage: np.bincount(split.labels, minlength=NUM_CLASSES)
        for usage, split in faces.splits.items()
    }
    classes = pd.DataFrame.from_dict(counted, orient="index", columns=EMOTIONS)
    counts, rules = (
        inspect.counts(faces, findings),
        {finding.name: finding.rule for finding in findings},
    )
    print(classes.assign(all=classes.sum(axis=1)).to_string())
    print(
        f"\n{counts.fillna('').to_string()}\n\n"
        + "\n".join(f"{name}: {rule}" for name, rule in rules.items())
    )
    if votes is None:
        print(f"not_a_face: not looked for: {path} is not there, download it from {ferplus.PAGE}")
    report = {"digest": faces.digest, "classes": classes.T.to_dict(), "rules": rules}
    report["findings"] = {name: row.dropna().to_dict() for name, row in counts.iterrows()}
    write(args.out, report, inspect.table(faces, findings))
    write_pictures(args.out, faces, findings)
    print(f"\nwrote {args.out}: inspection.csv, inspection.json and pictures")


def write(folder: Path, report: dict, table) -> None:
    with files.replacing(folder / "inspection.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    with files.replacing(folder / "inspection.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n")


def write_pictures(folder: Path, faces, findings) -> None:
    from fer_jax import plots
    from fer_jax.data import inspect

    images = np.concatenate([split.images for split in faces.splits.values()])
    for finding in findings:
        path = folder / f"{finding.name}.png"
        path.unlink(missing_ok=True)  # an earlier run's, should there be nothing to show now
        shown = finding._replace(rows=finding.rows[:EXAMPLES], values=finding.values[:EXAMPLES])
        cells = inspect.table(faces, [shown]).to_dict("records")
        titles = [
            f"{c['split']} {c['row']}\n{c['emotion']}, {c['measure']} {round(c['value'], 3):g}"
            for c in cells
        ]
        if titles:
            title = f"{finding.name}, {len(titles)} of {len(finding.rows):,} rows: {finding.rule}"
            with files.replacing(path) as temporary:
                plots.contact_sheet(images[shown.rows], titles, title).savefig(temporary)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), help="folder with FER-2013 (default: data)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data/inspection"), help="default: data/inspection"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(cli.run(main))
