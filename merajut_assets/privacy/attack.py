"""A simulated linkage attack: how often a guess who is behind a published record is right.

Belongs here: which people of a population a published label can stand for, and the attacker's expected
success. Does not belong here: risks told from class sizes (`risk`), where populations come from.

The attacker holds a table of the whole population by a few attributes and knows those of every person. For
each published record they take all people whom its labels can stand for and name one of them at random:
nothing in the record tells these people apart. The true person is among them, because labels only ever
widen a value, so that the guess is right with 1 / people. The expectation over all records is exact; it
needs no random numbers.

What is not in the population table is no protection: where a label stands for nobody in it, and where it
counts fewer people than the release has subjects, the subjects of the class are all the people there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from merajut_assets.privacy.hierarchy import ANY, UNKNOWN, build_hierarchy, with_labels_apart
from merajut_assets.privacy.policy import DataError, QuasiIdentifier


@dataclass(frozen=True)
class Known:
    """An attribute that the attacker knows: the published `column`, and the `hierarchy` by which its labels
    stand for values of the population's column (None: it is published as it is)."""

    column: str
    hierarchy: QuasiIdentifier | None = None


def linkage_attack(
    published: pl.DataFrame,
    population: pl.DataFrame,
    known: Mapping[str, Known],
    *,
    population_count: str | None = None,
    subject: str | None = None,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The attacker's expected success against every subject of `published`.

    `known`: the population's columns that the attacker knows, and how they are published; their values are
    what the hierarchy takes (a month is its first day, an age a number). `population_count`:
    the population's column of counts; without it a row is a person. `subject`: the published column that
    tells subjects apart (without it every row is one); the record that is easiest to link counts.
    `classes`: the columns by which published rows are told apart, for the risk within a class; by default
    those of `known`.

    Returns `subjects`; `expected_right`, how many of them the attacker guesses right; `share_right`, the
    same as a share of all; `highest`, the best chance against one subject; `smallest_crowd`, the fewest
    people that a record can stand for; `records_outside_population`; and `within_class`, the chance 1 / k
    of one who knows that a person of the smallest class takes part. The known attributes are in `attributes`.

    Raises DataError when a column is missing, or the population's values do not fit their hierarchy.
    """
    columns = [one.column for one in known.values()]
    judged = list(classes) if classes is not None else columns
    _require(published, [*columns, *judged, *([subject] if subject is not None else [])], "release")
    _require(population, [*known, *([population_count] if population_count is not None else [])], "population")
    if not known:
        raise DataError("the attacker knows nothing; name at least one attribute of the population")
    result: dict[str, Any] = {"attributes": list(known), "subjects": 0, "expected_right": 0.0, "share_right": 0.0}
    result |= {"highest": 0.0, "smallest_crowd": 0, "records_outside_population": 0, "within_class": 0.0}
    if not published.height:
        return result
    records = published.select(
        *(
            pl.col(name).cast(pl.String).fill_null(UNKNOWN).alias(f"label_{place}")
            for place, name in enumerate(columns)
        ),
        (pl.col(subject) if subject is not None else pl.int_range(pl.len())).alias("subject"),
    )
    labels = [f"label_{place}" for place in range(len(columns))]
    crowds = _crowds(records.select(labels).unique(), population, known, population_count)
    held = records.group_by(labels).agg(pl.len().alias("rows"), pl.col("subject").n_unique().alias("subjects"))
    held = held.join(crowds, on=labels, how="left").with_columns(pl.col("people").fill_null(0))
    held = held.with_columns(pl.max_horizontal("people", "subjects").alias("crowd"))
    # A subject with several records is as safe as the one that fits the fewest people.
    best = records.join(held.select(*labels, "crowd"), on=labels).group_by("subject").agg(pl.col("crowd").min())
    chances = 1.0 / best.get_column("crowd").to_numpy().astype(np.float64)
    sizes = published.group_by(judged).agg((pl.col(subject).n_unique() if subject is not None else pl.len()).alias("k"))
    return {
        **result,
        "subjects": len(chances),
        "expected_right": float(chances.sum()),
        "share_right": float(chances.mean()),
        "highest": float(chances.max()),
        "smallest_crowd": int(held.select(pl.col("crowd").min()).item()),
        "records_outside_population": int(held.filter(pl.col("people") == 0).get_column("rows").sum()),
        "within_class": 1.0 / int(sizes.select(pl.col("k").min()).item()),
    }


def covered(values: pl.Series, labels: pl.Series, hierarchy: QuasiIdentifier | None) -> pl.DataFrame:
    """Which of `values` each of `labels` can stand for, as pairs (label, value).

    A label stands for the values that the hierarchy turns into it, on the finest level that has it: the
    narrowest reading, so that nobody is counted who may be meant only if it is read more widely. It may be one of local
    recoding, where labels of different levels are kept apart (`with_labels_apart`). `*` stands for
    everybody; so does the label of a missing value, unless it is a value of the population itself.
    """
    values = values.drop_nulls().unique().sort()
    wanted = labels.cast(pl.String).unique()
    pairs = [pl.DataFrame({"label": values.cast(pl.String), "value": values})]
    if hierarchy is not None and len(values):
        built = build_hierarchy(values, hierarchy)
        pairs = [
            pl.DataFrame({"label": texts.published(level), "value": values})
            for texts in (built, with_labels_apart(built, hierarchy))
            for level in range(built.levels)
        ]
    found = pairs[0].clear()
    for pair in pairs:
        fresh = pair.filter(pl.col("label").is_in(wanted.implode()) & ~pl.col("label").is_in([ANY]))
        found = pl.concat([found, fresh.join(found.select("label").unique(), on="label", how="anti")])
    missing = [label for label in (ANY, UNKNOWN) if label in wanted and label not in found.get_column("label")]
    everybody = [pl.DataFrame({"label": [label] * len(values), "value": values}) for label in missing]
    return pl.concat([found, *everybody], how="vertical_relaxed")


def _crowds(
    labels: pl.DataFrame, population: pl.DataFrame, known: Mapping[str, Known], count: str | None
) -> pl.DataFrame:
    """People of the population per combination of labels, of those in `labels` (label_0, label_1, …).

    Column by column: values become the labels that can stand for them, and are summed up at once, so that the
    table never grows beyond what the labels tell apart.
    """
    people = pl.len() if count is None else pl.col(count).sum()
    table = population.group_by(list(known)).agg(people.cast(pl.Int64).alias("people"))
    done: list[str] = []
    remaining = list(known)
    for place, (name, one) in enumerate(known.items()):
        label = f"label_{place}"
        pairs = covered(population.get_column(name), labels.get_column(label), one.hierarchy)
        remaining.remove(name)
        done.append(label)
        table = (
            table.join(pairs.rename({"label": label, "value": name}), on=name)
            # Only combinations that were published matter.
            .join(labels.select(done).unique(), on=done, how="semi")
            .group_by([*done, *remaining])
            .agg(pl.col("people").sum())
        )
    return table


def _require(frame: pl.DataFrame, columns: Sequence[str], what: str) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise DataError(f"the {what} lacks column(s) {', '.join(dict.fromkeys(missing))}")
