"""A table: answers as rows of CSV, for spreadsheets."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, TextIO

from pydantic import BaseModel

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def written(rows: Sequence[BaseModel]) -> str:
    """One line for each, under the names of what they hold; a part of a part is named with a dot. Empty without
    rows."""
    flat = [dict(_flat(row.model_dump())) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    parts = {name.partition(".")[0] for name in names if "." in name}  # a part that a row lacks is None as a whole
    shown = [name for name in names if name not in parts]
    out = StringIO()
    write(out, shown, ({name: row.get(name) for name in shown} for row in flat))
    return out.getvalue()


def write(out: TextIO, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """The rows under a line of names."""
    table = csv.DictWriter(out, names, lineterminator="\r\n")
    table.writeheader()
    table.writerows({name: cell(value) for name, value in row.items()} for row in rows)


def cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is told to be a text, by an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
