"""The independent check of a release: what a table protects, told from the table alone.

Belongs here: counting classes in DuckDB SQL over frames in memory, and comparing what was counted with
what is required. It must know nothing of policies, hierarchies or the search, so that a fault there
cannot hide itself here; it imports none of the package's other modules for that reason.

Only labels are looked at, so that it makes no difference whether one generalisation holds for all rows
or a finer one where the data allow.

Exactness: every figure but one comes from whole numbers; only the last division is rounded, to the
nearest double. The exception is entropy, a sum of logarithms: `check` grants it a relative
`ENTROPY_TOLERANCE`, so that a class of three values twice each is 3-diverse.
"""

# ruff: noqa: S608 - SQL is put together from names of our own and integers only, never from the data's

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

ENTROPY_TOLERANCE = 1e-9

# What a requirement on a figure means. A figure that is None is unbounded: no threshold is met.
_AT_LEAST = ("k", "l", "entropy_l", "k_map", "delta_min")
_AT_MOST = ("t_equal", "t_ordered", "t_hierarchical", "beta", "delta_max", "rows_outside_population")
_LESS_THAN = ("recursive_c",)


class VerificationError(ValueError):
    """The frame cannot be verified as asked. Names columns, never values."""


def verify(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str] = (),
    subject: str | None = None,
    *,
    k: int | None = None,
    l: int | None = None,  # noqa: E741 (the model's own name)
    recursive_l: Mapping[str, int] | None = None,
    orders: Mapping[str, Sequence[Any] | None] | None = None,
    hierarchies: Mapping[str, pl.DataFrame] | None = None,
    reference: pl.DataFrame | None = None,
    population: pl.DataFrame | None = None,
    population_count: str | None = None,
) -> dict[str, Any]:
    """What `frame` reaches, by classes of equal `quasi_identifiers` (nulls are equal to each other).

    Always: `rows`; `classes`; `k`, the least number of distinct subjects in a class (rows, without a subject
    column; 0 for an empty frame); `average_class`; and per sensitive column, the worst class counting:

    - `l`: distinct values, a null being no value; `entropy_l`: exp(entropy) of the values, nulls left out
      (Machanavajjhala et al. 2007);
    - `t_equal`: total variation distance between a class and the `reference`, a null being a value of its
      own (Li, Li and Venkatasubramanian 2007);
    - `beta`: the largest (share in the class - share in the reference) / share in the reference (Cao and
      Karras 2012, basic); None where the reference does not have a value.

    Where it is asked for, per column:

    - `recursive_l` (l by column) gives `recursive_c`: the bound that c must exceed for recursive (c, l)-
      diversity, r1 / (r_l + ... + r_m); None where a class has fewer than l values;
    - `orders` (all values in their order, or None for the natural order) gives `t_ordered`: earth mover's
      distance over ranks, divided by their number - 1; nulls have no rank and are refused;
    - `hierarchies` (columns from the value to one root, first column the value as text) gives
      `t_hierarchical`: earth mover's distance over the tree, moving costing the level at which two values
      meet / levels above the values; a null meets the others at the root;
    - `population` (the same quasi-identifiers in the same labels; `population_count` names a column of
      counts, otherwise a row is a person) gives `delta_min` and `delta_max`, the least and largest share
      of a class of the population that is in the release (Nergiz, Atzori and Clifton 2007), `k_map`, the
      fewest people of the population in a released class, and `rows_outside_population`.

    `reference`: the frame that distributions are compared with; by default `frame` itself. An anonymiser
    that suppresses rows compares with the rows from before. Given `k` or `l` as thresholds, also
    `classes_below_k`, `rows_below_k`, `classes_below_l` and `rows_below_l` (per column).

    Raises VerificationError when a column is missing, the subject column holds nulls, or an order or a
    hierarchy does not hold all values.
    """
    names = [*quasi_identifiers, *sensitive, *([subject] if subject is not None else [])]
    _require(frame, names, "release")
    if subject is not None and frame.get_column(subject).null_count():
        raise VerificationError(f"subject column {subject!r} holds nulls; its rows cannot be counted towards k")
    recursive_l, orders, hierarchies = recursive_l or {}, orders or {}, hierarchies or {}
    for asked in (recursive_l, orders, hierarchies):
        if unknown := sorted(set(asked) - set(sensitive)):
            raise VerificationError(f"column(s) {', '.join(unknown)} are not among the sensitive ones")
    if reference is not None:
        _require(reference, sensitive, "reference")
        if other := [name for name in sensitive if reference.schema[name] != frame.schema[name]]:
            raise VerificationError(f"reference: column(s) {', '.join(other)} are of another type than the release's")
    facts: dict[str, Any] = {}
    per_column: dict[str, dict[str, Any]] = {
        "l": {},
        **({"classes_below_l": {}, "rows_below_l": {}} if l is not None else {}),
    }
    width = len(quasi_identifiers)
    tables = {"release": _named(frame, q=quasi_identifiers, s=sensitive, subject=[] if subject is None else [subject])}
    if reference is not None:
        tables["reference"] = _named(reference, s=sensitive)
    if population is not None:
        counted = [population_count] if population_count is not None else []
        _require(population, [*quasi_identifiers, *counted], "population")
        tables["population"] = _named(population, q=quasi_identifiers, people=counted)
    with _database(tables) as database:
        facts.update(_classes(database, width, subject is not None, k))
        for place, name in enumerate(sensitive):
            source = "release" if reference is None else "reference"
            found = _distribution(database, width, f"s{place}", source, recursive_l.get(name), l)
            if name in orders:
                found["t_ordered"] = _ordered(database, _ranks(frame, reference, name, orders[name]))
            if name in hierarchies:
                found["t_hierarchical"] = _hierarchical(database, name, hierarchies[name])
            for figure, value in found.items():
                per_column.setdefault(figure, {})[name] = value
        if population is not None:
            facts.update(_presence(database, width, population_count is not None))
    return {**facts, **per_column}


def check(facts: Mapping[str, Any], requirements: Mapping[str, Any]) -> list[str]:
    """What of `requirements` the `facts` of `verify` do not reach, in words; empty when all is reached.

    Requirements are named and shaped as the facts: `{"k": 5, "l": {"diagnosis": 3}, "t_equal": {"diagnosis":
    0.2}, "delta_max": 0.8}`. `recursive_c` is to be exceeded by the c that is required; the t, beta and
    delta_max reached may be as large as required; k, l, entropy_l, k_map and delta_min at least so.
    Raises VerificationError for a requirement that was not measured: it must not count as met.
    """
    broken: list[str] = []
    for figure, required in requirements.items():
        if figure not in (*_AT_LEAST, *_AT_MOST, *_LESS_THAN):
            raise VerificationError(f"requirement {figure!r} is unknown")
        wanted = required if isinstance(required, Mapping) else {None: required}
        for column, threshold in wanted.items():
            label = figure if column is None else f"{figure} of {column}"
            try:
                reached = facts[figure] if column is None else facts[figure][column]
            except KeyError:
                raise VerificationError(f"{label} was not measured; ask `verify` for it") from None
            if not _is_met(figure, reached, threshold):
                shown = "no bound" if reached is None else f"{reached:g}"
                broken.append(f"{label} = {threshold:g} is not reached: the table has {shown}")
    return broken


def _is_met(figure: str, reached: float | None, threshold: float) -> bool:
    if reached is None:
        return False
    if figure in _AT_MOST:
        return reached <= threshold
    if figure in _LESS_THAN:
        return reached < threshold
    return reached >= threshold * (1 - ENTROPY_TOLERANCE if figure == "entropy_l" else 1)


# ── classes ──────────────────────────────────────────────────────────────────────────────


def _classes(database: duckdb.DuckDBPyConnection, width: int, has_subjects: bool, k: int | None) -> dict[str, Any]:
    """Makes the table `class` (q0, q1, …, size, subjects) and counts it."""
    counted = "count(*)"
    if has_subjects:
        rows, subjects = _row(database, "SELECT count(*), count(DISTINCT subject0) FROM release")
        counted = counted if rows == subjects else "count(DISTINCT subject0)"
    _run(
        database,
        f"""CREATE TEMP TABLE class AS
        SELECT {_keys(width)}count(*) AS size, {counted} AS subjects
        FROM release {_by_keys(width)} HAVING count(*) > 0""",
    )
    least = int(k or 0)
    row = _row(
        database,
        f"""SELECT coalesce(sum(size), 0)::BIGINT, count(*), coalesce(min(subjects), 0), avg(size)::DOUBLE,
        count(*) FILTER (subjects < {least}), coalesce(sum(size) FILTER (subjects < {least}), 0)::BIGINT FROM class""",
    )
    facts = dict(zip(("rows", "classes", "k", "average_class"), (*row[:3], row[3] or 0.0), strict=True))
    return facts if k is None else {**facts, "classes_below_k": row[4], "rows_below_k": row[5]}


def _distribution(
    database: duckdb.DuckDBPyConnection,
    width: int,
    column: str,
    source: str,
    recursive_l: int | None,
    l: int | None,  # noqa: E741
) -> dict[str, Any]:
    """Makes the tables `cell` (class, size, value, n, total) and `whole` (value, total) of one sensitive
    column, the whole being the rows of `source`, and judges the classes by what they hold."""
    _run(
        database,
        f"""CREATE OR REPLACE TEMP TABLE whole AS
        SELECT {column} AS value, count(*) AS total FROM {source} GROUP BY ALL""",
    )
    # One list per class and back: that numbers the classes without comparing their labels again.
    _run(
        database,
        f"""CREATE OR REPLACE TEMP TABLE cell AS
        WITH counted AS (
            SELECT {_keys(width)}{column} AS value, count(*) AS n FROM release GROUP BY ALL
        ), packed AS (
            SELECT {_keys(width)}list(struct_pack(value := value, n := n)) AS cells, sum(n)::BIGINT AS size
            FROM counted GROUP BY ALL
        ), numbered AS (
            SELECT row_number() OVER () AS class, size, unnest(cells, recursive := true) FROM packed
        )
        SELECT class, size, numbered.value, n, coalesce(total, 0) AS total
        FROM numbered LEFT JOIN whole ON numbered.value IS NOT DISTINCT FROM whole.value""",
    )
    rows = _rows_of_whole(database)
    tail = f"list_sum(list_reverse_sort(list(n) FILTER (known))[{int(recursive_l or 1)}:])"
    ratios = f"CASE WHEN values >= {int(recursive_l or 1)} THEN largest / tail END"
    below = f"values < {int(l or 0)}"
    row = _row(
        database,
        f"""WITH marked AS (SELECT *, value IS NOT NULL AS known FROM cell), judged AS (
            SELECT size, count(*) FILTER (known) AS values,
                sum(n) FILTER (known) AS recorded,
                sum(n * ln(n)) FILTER (known) AS weighted,
                max(n) FILTER (known) AS largest,
                {tail if recursive_l is not None else "0"}::BIGINT AS tail,
                sum(greatest(0, n::HUGEINT * {rows} - total::HUGEINT * size)) AS moved
            FROM marked GROUP BY class, size
        )
        SELECT coalesce(min(values), 0),
            coalesce(min(CASE WHEN values = 0 THEN 0 ELSE exp(ln(recorded) - weighted / recorded) END), 0),
            coalesce(bool_or(values < {int(recursive_l or 0)}), false),
            arg_max(struct_pack(above := largest, below := tail), {ratios if recursive_l is not None else "1"}),
            arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE),
            count(*) FILTER ({below}), coalesce(sum(size) FILTER ({below}), 0)::BIGINT
        FROM judged""",
    )
    gain = _row(
        database,
        """SELECT coalesce(bool_or(total = 0), false),
        arg_max(struct_pack(n := n, size := size, total := total), n / (size::DOUBLE * total)) FROM cell""",
    )
    found: dict[str, Any] = {"l": row[0], "entropy_l": row[1], "t_equal": _share(row[4], rows)}
    found["beta"] = None if gain[0] else _gain(gain[1], rows)
    if recursive_l is not None:
        found["recursive_c"] = None if row[2] else _share(row[3], 1)
    if l is not None:
        found.update(classes_below_l=row[5], rows_below_l=row[6])
    return found


def _ordered(database: duckdb.DuckDBPyConnection, ranks: pl.DataFrame) -> float:
    """Largest earth mover's distance over `ranks` (value, rank from 1).

    Between two values that a class has, its cumulative count stands still while that of the whole grows;
    the rank at which the whole overtakes the class splits the sum of absolute differences into two sums
    that prefix sums give. So the work grows with the cells, and not with classes times ranks.
    """
    database.register("ranking", ranks.to_arrow())
    rows = _rows_of_whole(database)
    last = max(ranks.height - 1, 0)
    row = _row(
        database,
        f"""WITH growth AS (
            SELECT 0 AS rank, 0 AS total
            UNION ALL SELECT rank, coalesce(total, 0) FROM ranking LEFT JOIN whole USING (value)
        ), reached AS (
            SELECT rank, sum(total) OVER (ORDER BY rank)::HUGEINT AS below FROM growth
        ), prefix AS (
            SELECT rank, below, sum(below) OVER (ORDER BY rank)::HUGEINT AS area FROM reached
        ), overtaking AS (
            SELECT below, max(rank) AS rank FROM prefix GROUP BY below
        ), stepping AS (
            SELECT class, size, rank, n FROM cell JOIN ranking USING (value)
            UNION ALL SELECT DISTINCT class, size, 0, 0 FROM cell
        ), segment AS (
            SELECT class, size, rank AS first,
                least(coalesce(lead(rank) OVER steps, {ranks.height + 1}) - 1, {last}) AS final,
                sum(n) OVER steps * {rows}::HUGEINT AS level
            FROM stepping WINDOW steps AS (PARTITION BY class ORDER BY rank)
        ), split AS (
            SELECT segment.*, least(greatest(overtaking.rank, first - 1), final) AS turn
            FROM segment ASOF JOIN overtaking ON segment.level // segment.size >= overtaking.below
            WHERE first <= final
        ), summed AS (
            SELECT class, size, sum(
                (turn - first + 1) * level - size * (at_turn.area - coalesce(before.area, 0))
                + size * (at_final.area - at_turn.area) - (final - turn) * level
            ) AS moved
            FROM split
            LEFT JOIN prefix AS before ON before.rank = first - 1
            JOIN prefix AS at_turn ON at_turn.rank = turn
            JOIN prefix AS at_final ON at_final.rank = final
            GROUP BY class, size
        )
        SELECT arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE) FROM summed""",
    )
    return _share(row[0], rows * max(last, 1))


def _ranks(frame: pl.DataFrame, reference: pl.DataFrame | None, name: str, order: Sequence[Any] | None) -> pl.DataFrame:
    """The values of a column with their ranks from 1. Every value must have one."""
    columns = [part.get_column(name) for part in (frame, reference) if part is not None]
    if any(column.null_count() for column in columns):
        raise VerificationError(f"column {name!r} holds nulls, which have no rank; t_ordered cannot be measured")
    held = pl.concat(columns).unique()
    if order is None:
        ranked = held.sort()
    else:
        try:
            ranked = pl.Series(name, list(order), strict=False).cast(held.dtype, strict=False)
        except pl.exceptions.PolarsError:
            ranked = pl.Series(name, [], dtype=held.dtype)
        if ranked.null_count() or ranked.is_duplicated().any():
            raise VerificationError(f"the order of column {name!r} names a value twice, or one of another type")
        if not held.is_in(ranked.implode()).all():
            raise VerificationError(f"the order of column {name!r} does not name all of its values")
    return pl.DataFrame({"value": ranked, "rank": pl.int_range(1, len(ranked) + 1, eager=True)})


def _hierarchical(database: duckdb.DuckDBPyConnection, name: str, hierarchy: pl.DataFrame) -> float:
    """Largest earth mover's distance over a tree.

    Moving costs the level at which two values meet, so that what must be moved across the nodes of one
    level is paid once for each level: the distance is the mean of the total variation distances at the
    levels below the root.
    """
    levels = hierarchy.width - 1
    if levels < 1 or hierarchy.height == 0 or hierarchy.to_series(levels).n_unique() != 1:
        raise VerificationError(f"the hierarchy of column {name!r} does not end in one root")
    tree = hierarchy.select(pl.all().cast(pl.String)).rename(
        {column: f"level_{number}" for number, column in enumerate(hierarchy.columns)}
    )
    if tree.get_column("level_0").is_duplicated().any():
        raise VerificationError(f"the hierarchy of column {name!r} lists a value twice")
    database.register("tree", tree.to_arrow())
    rows = _rows_of_whole(database)
    joined = "LEFT JOIN tree ON CAST(value AS VARCHAR) = level_0"
    for table in ("whole", "cell"):
        missing = _row(database, f"SELECT count(*) FROM {table} {joined} WHERE value IS NOT NULL AND level_0 IS NULL")
        if missing[0]:
            raise VerificationError(f"the hierarchy of column {name!r} does not hold all of its values")
    parts = " UNION ALL ".join(
        f"""SELECT class, size, greatest(0, n * {rows} - coalesce(total, 0) * size) AS moved
        FROM (SELECT class, size, level_{level} AS node, sum(n)::HUGEINT AS n FROM cell {joined} GROUP BY ALL) AS held
        LEFT JOIN (SELECT level_{level} AS node, sum(total)::HUGEINT AS total FROM whole {joined} GROUP BY ALL) AS known
        ON held.node IS NOT DISTINCT FROM known.node"""
        for level in range(levels)
    )
    row = _row(
        database,
        f"""SELECT arg_max(struct_pack(above := moved, below := size), moved / size::DOUBLE)
        FROM (SELECT size, sum(moved) AS moved FROM ({parts}) GROUP BY class, size)""",
    )
    return _share(row[0], rows * levels)


def _presence(database: duckdb.DuckDBPyConnection, width: int, is_counted: bool) -> dict[str, Any]:
    people = "sum(people0)::BIGINT" if is_counted else "count(*)"
    # As text: the labels of a release are text, whatever the population's columns are.
    keys = "".join(f"q{place}::VARCHAR AS q{place}, " for place in range(width))
    row = _row(
        database,
        f"""WITH person AS (
            SELECT {_keys(width)}{people} AS people FROM population {_by_keys(width)}
        ), either AS (
            SELECT {keys}subjects AS held, 0 AS people, size FROM class
            UNION ALL SELECT {keys}0, people, 0 FROM person WHERE people > 0
        ), matched AS (
            SELECT sum(held)::BIGINT AS held, sum(people)::BIGINT AS people, sum(size)::BIGINT AS size
            FROM either {_by_keys(width)}
        )
        SELECT arg_min(struct_pack(above := held, below := people), held / people::DOUBLE) FILTER (people > 0),
            arg_max(struct_pack(above := held, below := people), held / people::DOUBLE) FILTER (people > 0),
            coalesce(min(people) FILTER (held > 0), 0),
            coalesce(sum(size) FILTER (people = 0), 0)::BIGINT
        FROM matched""",
    )
    return {
        "delta_min": _share(row[0], 1),
        "delta_max": _share(row[1], 1),
        "k_map": row[2],
        "rows_outside_population": row[3],
    }


def _share(pair: Mapping[str, Any] | None, scale: int) -> float:
    """above / (below * scale), correctly rounded; 0 when there was no class."""
    return 0.0 if pair is None else float(Fraction(int(pair["above"]), int(pair["below"]) * max(scale, 1)))


def _gain(cell: Mapping[str, Any] | None, rows: int) -> float:
    if cell is None:
        return 0.0
    return float(Fraction(int(cell["n"]) * rows, int(cell["size"]) * int(cell["total"])) - 1)


def _rows_of_whole(database: duckdb.DuckDBPyConnection) -> int:
    return int(_row(database, "SELECT coalesce(sum(total), 0)::BIGINT FROM whole")[0])


# ── several tables ───────────────────────────────────────────────────────────────────────


def verify_join(
    frames: Mapping[str, pl.DataFrame],
    pseudonym: str,
    quasi_identifiers: Mapping[str, Sequence[str]],
    sensitive: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """What datasets that share a pseudonym protect for one who joins them.

    A subject's signature is, per dataset, the set of its quasi-identifier combinations, or its
    absence; subjects with equal signatures in all datasets form a class. Returns `subjects`,
    `classes`, `k` (least subjects in a class) and `l` per `dataset.column`: least distinct non-null
    values among the classes that occur in that dataset. Absence counts as known to the attacker,
    which can only make the result stricter. All keys of the mappings are dataset names.
    """
    sensitive = sensitive or {}
    if unknown := sorted((set(quasi_identifiers) | set(sensitive)) - set(frames)):
        raise VerificationError(f"no frame is given for dataset(s) {', '.join(unknown)}")
    if silent := sorted(set(frames) - set(quasi_identifiers)):
        raise VerificationError(f"no quasi-identifiers are named for dataset(s) {', '.join(silent)}")
    tables: dict[str, pa.Table] = {}
    signatures: list[str] = []
    diversities: list[tuple[str, int, str]] = []
    for place, (name, frame) in enumerate(frames.items()):
        columns, values = quasi_identifiers[name], sensitive.get(name, ())
        _require(frame, [pseudonym, *columns, *values], name)
        if frame.get_column(pseudonym).null_count():
            raise VerificationError(f"dataset {name!r}: pseudonym column {pseudonym!r} holds nulls")
        tables[f"dataset_{place}"] = _named(frame, pseudonym=[pseudonym], q=columns, s=values)
        packed = f"struct_pack({', '.join(f'q{n} := q{n}' for n in range(len(columns)))})" if columns else "1"
        signatures.append(
            f"signature_{place} AS (SELECT pseudonym0 AS pseudonym, list_sort(list(DISTINCT {packed})) AS signature "
            f"FROM dataset_{place} GROUP BY pseudonym0)"
        )
        diversities += [(f"{name}.{column}", place, f"s{number}") for number, column in enumerate(values)]
    places = range(len(tables))
    everyone = " UNION ".join(f"SELECT pseudonym FROM signature_{place}" for place in places)
    joins = " ".join(f"LEFT JOIN signature_{place} USING (pseudonym)" for place in places)
    keys = ", ".join(f"signature_{place}.signature" for place in places)
    named = ", ".join(f"signature_{place}.signature AS s{place}" for place in places)
    common = f"""
        WITH {", ".join(signatures)},
        everyone AS ({everyone}),
        member AS (SELECT pseudonym, dense_rank() OVER (ORDER BY {keys}) AS class, {named} FROM everyone {joins})
    """
    sizes = "SELECT coalesce(sum(n), 0)::BIGINT, count(*), coalesce(min(n), 0) FROM "
    least: dict[str, int] = {}
    with _database(tables) as database:
        subjects, classes, k = _row(database, f"{common} {sizes} (SELECT count(*) AS n FROM member GROUP BY class)")
        for label, place, column in diversities:
            distinct = f"SELECT count(DISTINCT dataset_{place}.{column}) AS n FROM member"
            joined = f"JOIN dataset_{place} ON dataset_{place}.pseudonym0 = member.pseudonym GROUP BY class"
            least[label] = _row(database, f"{common} SELECT coalesce(min(n), 0) FROM ({distinct} {joined})")[0]
    return {"subjects": subjects, "classes": classes, "k": k, "l": least}


# ── DuckDB ───────────────────────────────────────────────────────────────────────────────


def _require(frame: pl.DataFrame, columns: Sequence[str], dataset: str) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise VerificationError(f"{dataset}: column(s) {', '.join(missing)} are not in the frame")


def _named(frame: pl.DataFrame, **groups: Sequence[str]) -> pa.Table:
    """Columns under names of our own (`q0`, `q1`, … for `q=[…]`): the data's could be anything, and DuckDB
    takes names that differ in capitals only for the same. `row` is there so that rows count without any."""
    columns = [
        pl.col(name).alias(f"{group}{place}") for group, names in groups.items() for place, name in enumerate(names)
    ]
    return frame.select(*columns, pl.repeat(0, pl.len(), dtype=pl.UInt8).alias("row")).to_arrow()


def _keys(width: int) -> str:
    return "".join(f"q{place}, " for place in range(width))


def _by_keys(width: int) -> str:
    return f"GROUP BY {_keys(width)[:-2]}" if width else ""


@contextmanager
def _database(tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    # Without a temporary directory DuckDB cannot spill rows in plain text; it runs out of memory instead.
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as database:
        for name, table in tables.items():
            database.register(name, table)
        yield database


def _run(database: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    try:
        return database.execute(sql)
    except duckdb.Error as error:
        # DuckDB's messages may quote values.
        raise VerificationError(f"the verification query failed ({type(error).__name__})") from None


def _row(database: duckdb.DuckDBPyConnection, sql: str) -> tuple[Any, ...]:
    row = _run(database, sql).fetchone()
    assert row is not None  # every query asked here aggregates
    return tuple(row)
