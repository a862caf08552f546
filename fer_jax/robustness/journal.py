"""Long measurements that go on where they were stopped, and refuse findings of other settings.

journal = Journal(Path("runs/bench"), {"model": digest}, ("eps", "row", "right"))
for chunk in journal.missing(rows, 100, eps=0.1):
    journal.add(eps=0.1, row=chunk, right=judge(chunk))
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_jax import files
from fer_jax.errors import InputError


class Journal:
    """A table, `folder`/found.csv, that is on the disk, whole, after every addition."""

    def __init__(self, folder: Path, settings: dict[str, Any], columns: Sequence[str]):
        """Open or begin; `settings` are builtins that say all that the findings depend on.

        Raises an `InputError` if the folder holds findings of other settings, or no such table.
        """
        self.path = folder / "found.csv"
        self.table = pd.DataFrame(columns=list(columns))
        about = folder / "settings.json"
        before = files.read_json(about) if about.exists() else settings
        if before != settings:
            differ = {key for key in {*before, *settings} if before.get(key) != settings.get(key)}
            rule = f"holds what was found with another {', '.join(sorted(differ))}"
            raise InputError(f"{folder}: {rule}; begin in another folder")
        if self.path.exists():
            if not about.exists():
                rule = f"was found with settings that {about.name} does not tell"
                raise InputError(f"{self.path}: {rule}; begin in another folder")
            try:
                self.table = pd.read_csv(self.path)
            except ValueError as error:
                raise InputError(f"{self.path}: must be a table in CSV: {error}") from None
            names = list(self.table.columns)
            if names != list(columns):
                rule = f"must have the columns {', '.join(columns)}, received {', '.join(names)}"
                raise InputError(f"{self.path}: {rule}")
        files.write_json(about, settings)

    def add(self, **columns: Any) -> None:
        """Add rows, as columns of equal length or scalars, one for each column of the table."""
        new = pd.DataFrame(columns)[list(self.table.columns)]
        whole = new if self.table.empty else pd.concat([self.table, new], ignore_index=True)
        self.table = pd.DataFrame(whole)
        with files.replacing(self.path) as temporary:
            self.table.to_csv(temporary, index=False)

    def missing(
        self, rows: np.ndarray, together: int, **where: str | float
    ) -> Iterator[np.ndarray]:
        """Yield the `rows`, int [N], for which nothing was found yet, at most `together` at once.

        A finding is of a row where the other columns have the values `where`. Which rows share a
        piece does not depend on where the measurement was stopped before.
        """
        found = self.table
        for column, value in where.items():
            same = found[column] == value
            if not isinstance(value, str):  # eps may be typed as 2/255 or in decimals
                same = np.isclose(found[column].astype(float), value, rtol=1e-9)
            found = found[same]
        for piece in np.array_split(rows, -(-len(rows) // together)):
            left = piece[~np.isin(piece, found["row"])]
            if len(left):
                yield left
