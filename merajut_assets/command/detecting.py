"""Looking for personal values in single files: `merajut detect`.

Belongs here: the file, the lists that are shipped, and how the answer is said. It needs no lakehouse and no Dagster.
Does not belong here: what is personal (`privacy.detection`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from merajut_assets.command.anonymising import read_table
from merajut_assets.command.exits import BadInput, ProblemFound
from merajut_assets.privacy.detection import (
    DEFAULT_KINDS,
    Reference,
    UnknownKind,
    Verdict,
    detect_columns,
    find_in_text,
)
from merajut_assets.sources.identity import read_reference
from resources.settings import Settings


def detect_in_file(file: Path, separator: str, also: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the columns of a file hold: `columns` (see `detect_columns`), and names by verdict.

    `also`: kinds that are looked for only when asked. BadInput as everywhere."""
    frame, reference = read_table(file, separator), read_reference(Settings().reference)
    frame.columns = _shown(frame.columns, reference)
    try:
        found = detect_columns(frame, reference, (*DEFAULT_KINDS, *also))
    except UnknownKind as error:
        raise BadInput(f"--also: {error}") from None
    by_verdict = {
        verdict.value: found["column"].filter(found["verdict"] == verdict.value).unique(maintain_order=True).to_list()
        for verdict in Verdict
        if verdict is not Verdict.NONE
    }
    return {"rows": frame.height, **by_verdict, "columns": found.to_dicts()}


def _shown(names: list[str], reference: Reference) -> list[str]:
    """The names of the columns, but of those that look like a value: a file without its header row has a person's
    values in their place."""
    is_value = set(find_in_text(pl.Series(names), reference)["row"])
    is_value |= {
        place
        for place, name in enumerate(names)
        if not detect_columns(pl.DataFrame({"": [name]}), reference)["kind"].null_count()
    }
    return [f"column {place + 1} (not shown)" if place in is_value else name for place, name in enumerate(names)]


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """One line per column and kind, wide enough for the longest name of a column."""
    columns = answer["columns"]
    width = max([len("column"), *(len(row["column"]) for row in columns)])
    form = f"{{:{width}}}  {{:12}}  {{:7}}  {{:>6}}  {{:>10}}  {{:17}}  {{}}"
    yield form.format("column", "kind", "where", "share", "confidence", "verdict", "what to do").rstrip()
    for row in columns:
        if row["kind"] is None:
            yield form.format(row["column"], "-", "-", "-", "-", row["verdict"], row["advice"])
            continue
        where = "within" if row["within_text"] else "value"
        figures = f"{row['share']:.2%}", f"{row['confidence']:.3f}"
        yield form.format(row["column"], row["kind"], where, *figures, row["verdict"], row["advice"])


def refuse_personal(answer: Mapping[str, Any]) -> None:
    """Raises ProblemFound when a column looks personal."""
    if personal := [row["column"] for row in answer["columns"] if row["verdict"] != Verdict.NONE.value]:
        raise ProblemFound(f"{len(set(personal))} column(s) look personal: {', '.join(dict.fromkeys(personal))}")
