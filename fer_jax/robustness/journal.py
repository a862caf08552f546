"""Long measurements that go on where they were stopped: what was found so far, and the settings
that it belongs to.

found = Journal(Path("runs/bench"), {"model": digest, "eps": 0.1}, ("row", "right"))
for row in sorted(set(rows) - set(found.table["row"])):
    found.add(row=[row], right=[judge(row)])
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_jax import files
from fer_jax.errors import InputError


class Journal:
    """A table that is on the disk, whole, after every addition: `folder`/found.csv, with
    settings.json beside it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], columns: Sequence[str]):
        """Open or begin; `settings` are builtins that say all that the findings depend on.

        Raises:
            InputError: the folder holds findings of other or unknown settings, or what is no table
                of findings.
        """
        self.path, told = folder / "found.csv", folder / "settings.json"
        if told.exists() and (before := files.read_json(told)) != settings:
            keys = ", ".join(
                sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
            )
            raise InputError(
                f"{folder}: holds what was found with another {keys}; begin in another folder"
            )
        if self.path.exists() and not told.exists():
            raise InputError(
                f"{self.path}: was found with settings that {told.name} does not tell; begin in another folder"
            )
        self.table = (
            _read(self.path, list(columns))
            if self.path.exists()
            else pd.DataFrame(columns=list(columns))
        )
        with files.replacing(told) as temporary:
            temporary.write_text(json.dumps(settings, indent=2) + "\n")

    def add(self, **columns: Any) -> None:
        """Rows, as columns of equal length or scalars, one for each column of the table."""
        new = pd.DataFrame(columns)[list(self.table.columns)]
        self.table = pd.DataFrame(
            new if self.table.empty else pd.concat([self.table, new], ignore_index=True)
        )
        with files.replacing(self.path) as temporary:
            self.table.to_csv(temporary, index=False)


def _read(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise InputError(f"{path}: must be a table in CSV: {error}") from None
    if list(table.columns) != columns:
        raise InputError(
            f"{path}: must have the columns {', '.join(columns)}, received {', '.join(table.columns)}"
        )
    return table
