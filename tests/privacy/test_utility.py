"""The utility report: by hand on small tables, against figures computed otherwise, and what it must never tell."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merajut_assets.privacy import DataError, Policy, Release, anonymise, utility_report
from merajut_assets.privacy.association import MOST_CATEGORIES, associations, counted, pooled
from merajut_assets.privacy.history import RELEASE, signatures
from merajut_assets.privacy.metrics import Tally
from merajut_assets.privacy.utility import earth_mover, jensen_shannon, step_of, total_variation

ADULT = Path(__file__).parents[2] / "data" / "benchmark" / "adult"
# Labels of different levels differ, so that a label alone says which values it covers.
TREES: dict[str, list[list[str]]] = {
    "place": [[value, value if value == "z" else pair, "*"] for pair in ("ab", "cd", "ef") for value in pair],
    "age": [[str(age), f"{(age - 1) // 2 * 2 + 1}+", "all" if age < 5 else "old", "*"] for age in range(1, 9)],
    "sex": [["m", "*"], ["w", "*"]],
}
SHIFTS = ("total_variation", "jensen_shannon", "earth_mover")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hierarchies")
    for name, rows in TREES.items():
        (path / f"{name}.csv").write_text("\n".join(";".join(row) for row in rows))
    return path


def policy(folder: Path, k: int = 3, **changes: Any) -> Policy:
    columns = {name: {"hierarchy": folder / f"{name}.csv"} for name in TREES}
    return Policy.model_validate({"quasi_identifiers": columns, "sensitive": {"reason": {}}, "k": k, **changes})


def people(rows: int, seed: int) -> pl.DataFrame:
    """Columns that hang together: who is older lives elsewhere, and reasons differ by place."""
    random = np.random.default_rng(seed)
    age = np.minimum(random.geometric(0.35, rows), 8)
    place = (age // 2 + random.integers(0, 4, rows)) % 6
    return pl.DataFrame(
        {
            "place": [TREES["place"][number][0] for number in place],
            "age": age.astype(str),
            "sex": random.choice(["m", "w"], rows, p=[0.8, 0.2]),
            "reason": [["need", "loss", "study"][(number + extra) % 3] for number, extra in
                       zip(place, random.integers(0, 2, rows), strict=True)],
            "country": random.choice(["GB", "ID"], rows),
            "child": [f"child {number}" for number in range(rows)],
        }
    )  # fmt: skip


def by_hand(released: pl.DataFrame, tally: Tally, report: dict[str, Any]) -> Release:
    return Release(released, report, tally)


# ── by hand ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def eight(folder: Path) -> tuple[pl.DataFrame, Release, Policy]:
    """Eight rows, of which six are published as ab, and two (c, d) are left out; six values are possible."""
    frame = pl.DataFrame({"place": list("aaaabbcd"), "reason": list("pppqqqpp"), "age": ["1"] * 8, "sex": ["m"] * 8})
    released = frame.head(6).with_columns(pl.lit("ab").alias("place"))
    whole = Tally(8, 2, 1, 36, (6 * 2 + 2 * 6, 6 + 2 * 8, 6 + 2 * 2), (6, 0, 0), (0.0, 0.0, 0.0))
    loss = {"place": (24 - 8) / (8 * 5), "age": (22 - 8) / (8 * 7), "sex": (10 - 8) / 8}
    report = {
        "loss": 0.28,
        "column_loss": loss,
        "partitions": [{"transformation": {"place": 1, "age": 0, "sex": 0}}],
    }
    return frame, by_hand(released, whole, report), policy(folder, k=1)


def test_each_figure_of_a_whole_table_by_its_definition(eight: tuple[pl.DataFrame, Release, Policy]) -> None:
    told = utility_report(*eight)
    assert (told["rows"], told["suppressed"], told["loss"]) == (8, 2, 0.28)
    assert told["granularity"] == pytest.approx(1 - (0.4 + 0.25 + 0.25) / 3)
    # Six rows climbed one of two levels of the place; the two others are lost in every column.
    assert told["precision"] == pytest.approx(1 - ((6 / 2 + 2) / 8 + 2 / 8 + 2 / 8) / 3, abs=1e-6)
    assert told["discernibility"] == 36 + 2 * 8
    assert told["discernibility_share"] == pytest.approx(52 / 64)
    assert told["average_class"] == 8 / 2
    assert told["class_sizes"] == {
        **{"mean": 6.0, "median": 6.0, "largest": 6},
        "bands": {"1 to 1": 0, "2 to 3": 0, "4 to 7": 1, "8 to 15": 0, "16 or more": 0},
    }


def test_a_shift_is_that_of_what_a_recipient_reconstructs(eight: tuple[pl.DataFrame, Release, Policy]) -> None:
    """ab is spread over a and b, and who is left out over all six values: otherwise leaving out all that is unusual
    would look like perfect likeness."""
    told = utility_report(*eight)
    step = told["steps"]["shift"]
    assert step == 0.2  # one of eight is 0.125
    before = [4 / 8, 2 / 8, 1 / 8, 1 / 8, 0, 0]
    after = [(3 + 2 / 6) / 8, (3 + 2 / 6) / 8, *[(2 / 6) / 8] * 4]
    variation = sum(abs(one - other) for one, other in zip(before, after, strict=True)) / 2
    place = told["columns"]["place"]
    assert place["total_variation"] == pytest.approx(round(variation / step) * step)
    assert place["earth_mover"] is None
    # The ages are numbers: all are 1, and two of eight rows are spread over eight ages.
    moved = sum((2 / 8) * (7 - rank) / 8 for rank in range(7)) / 7
    assert told["columns"]["age"]["earth_mover"] == pytest.approx(round(moved / step) * step)
    # Published as it is, but two of five p are left out and spread over p and q.
    assert told["columns"]["reason"]["total_variation"] == pytest.approx(round((1 / 8) / step) * step)


def test_distances_by_their_definitions() -> None:
    before, after = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert total_variation(before, after) == 0.5
    middle = [0.375, 0.375, 0.25]
    bits = sum(
        0.5 * sum(p * math.log2(p / m) for p, m in zip(side, middle, strict=True) if p) for side in (before, after)
    )
    assert jensen_shannon(before, after) == pytest.approx(bits)
    # A quarter goes from the first to the third rank, a quarter from the second: three quarters of one of two steps.
    assert earth_mover(before, after) == pytest.approx((0.25 + 0.5) / 2)
    assert earth_mover(before, np.zeros(3)) is None
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_the_association_is_bergsmas() -> None:
    """A table of 2 by 3 with 60 rows, by the formula of the paper."""
    table = [[20, 5, 5], [5, 10, 15]]
    rows = [(i, j) for i, line in enumerate(table) for j, count in enumerate(line) for _ in range(count)]
    first, other = np.array(rows, dtype=np.int64).T
    n = 60
    phi = sum(
        (count - 30 * sum(line[j] for line in table) / n) ** 2 / (30 * sum(line[j] for line in table) / n)
        for line in table
        for j, count in enumerate(line)
    ) / n  # fmt: skip
    corrected = phi - 1 * 2 / (n - 1)
    least = min(2 - 1 / (n - 1), 3 - 4 / (n - 1)) - 1
    both = [_same(first, 2), _same(other, 3)]
    before, after = associations(both)
    assert before[0, 1] == before[1, 0] == pytest.approx(math.sqrt(corrected / least))
    assert after == pytest.approx(before)


def _same(numbers: np.ndarray[Any, Any], size: int) -> Any:
    from merajut_assets.privacy.association import Sides

    return Sides(numbers, numbers, np.eye(size))


# ── against figures computed otherwise ───────────────────────────────────────────────────

CASES: dict[str, dict[str, Any]] = {
    "optimal": {"suppression_limit": 0.05},
    "local": {"search": "local"},
    "local with suppression": {"search": "local", "suppression_limit": 0.03, "k": 6},
    "exact": {"exact": ["country"], "suppression_limit": 0.05},
    "exact and local": {"exact": ["country"], "search": "local"},
    "coarse": {"k": 60, "suppression_limit": 0.1},
}


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_what_another_computation_finds(folder: Path, name: str) -> None:
    """Everything is computed again, row by row, out of the published texts and the hierarchies as written down."""
    rules = policy(folder, **CASES[name])
    frame = people(700, 5)
    release = anonymise(frame, rules)
    assert release.frame is not None
    told = utility_report(frame, release, rules)
    assert "utility" not in release.report, "whoever does not ask for it does not wait for it"
    assert told["loss"] == pytest.approx(release.report["loss"], abs=1e-6)
    shares = {label: len(leaves) / len(TREES[column]) for column in TREES for label, leaves in _leaves(column).items()}
    gone = frame.height - release.frame.height
    for column in rules.class_columns + list(rules.sensitive):
        before, after = _distributions(frame, release.frame, column)
        found, step = told["columns"][column], told["steps"]["shift"]
        for figure, value in zip(SHIFTS, _distances(before, after, column), strict=True):
            if value is None:
                assert found[figure] is None
            else:
                assert abs(found[figure] - value) <= step / 2 + 1e-9, (column, figure)
        if column in TREES:
            domain = len(TREES[column])
            covered = sum(shares[label] for label in release.frame.get_column(column)) + gone
            loss = (covered - frame.height / domain) / (frame.height - frame.height / domain)
            assert found["loss"] == pytest.approx(loss, abs=1e-6)
    _compare_classes(release.frame, frame.height, told, rules)


@pytest.mark.parametrize("name", CASES)
def test_associations_are_what_another_computation_finds(folder: Path, name: str) -> None:
    rules = policy(folder, **CASES[name])
    frame = people(700, 6)
    release = anonymise(frame, rules)
    assert release.frame is not None
    between = utility_report(frame, release, rules)["association"]
    step = utility_report(frame, release, rules)["steps"]["association"]
    columns = between["columns"]
    assert set(columns) == {*rules.class_columns, *rules.sensitive}
    for place, first in enumerate(columns):
        for beside, other in enumerate(columns[:place]):
            before, after = _cramers(frame, release.frame, first, other, rules.k)
            assert abs(between["before"][place][beside] - before) <= step / 2 + 1e-9
            assert abs(between["after"][place][beside] - after) <= step / 2 + 1e-9, (first, other)


@pytest.mark.parametrize("name", ["optimal", "coarse"])
def test_the_entropy_lost_is_the_conditional_entropy(folder: Path, name: str) -> None:
    """Of one generalisation without suppression: H(value | published) / H(value), counted by a database."""
    rules = policy(folder, **{**CASES[name], "suppression_limit": 0.0})
    frame = people(700, 8)
    release = anonymise(frame, rules)
    told = utility_report(frame, release, rules)
    for column, level in release.report["transformation"].items():
        labels = {row[0]: row[level] for row in TREES[column]}
        values = frame.get_column(column)
        with duckdb.connect() as database:
            database.register("pairs", pl.DataFrame({"value": values, "label": values.replace_strict(labels)}))
            found = database.sql("SELECT entropy(value || '|' || label), entropy(value), entropy(label) FROM pairs")
            joint, own, marginal = found.fetchall()[0]
        lost = told["columns"][column]["entropy_lost"]
        assert abs(lost - (joint - marginal) / own) <= told["steps"]["shift"] / 2 + 1e-9


def test_beside_a_history_rows_left_out_count(folder: Path) -> None:
    """A second month leaves rows out for the sake of the first: the report is of what was published."""
    rules = policy(folder, subject="child", suppression_limit=0.5)
    first, second = people(300, 3), people(320, 3).with_columns(pl.col("age").shuffle(4))
    history = signatures(first.clear(), rules, bytes(range(32))).with_columns(pl.lit("").alias(RELEASE))
    published = anonymise(first, rules, history=history)
    assert published.frame is not None
    kept = signatures(published.frame, rules, bytes(range(32))).with_columns(pl.lit("1").alias(RELEASE))
    release = anonymise(second, rules, history=kept.select(history.columns))
    assert release.frame is not None
    told = utility_report(second, release, rules)
    assert told["suppressed"] == second.height - release.frame.height > 0
    before, after = _distributions(second, release.frame, "reason")
    assert told["columns"]["reason"]["total_variation"] == pytest.approx(
        _distances(before, after, "reason")[0], abs=told["steps"]["shift"] / 2
    )
    _compare_classes(release.frame, second.height, told, rules)


def test_adult_keeps_what_an_sql_query_finds(tmp_path: Path) -> None:
    """Real data with a real hierarchy, and values of the hierarchy that do not occur."""
    frame = pl.read_csv(ADULT / "adult.csv.gz", separator=";")
    columns = {name: {"hierarchy": ADULT / f"adult_hierarchy_{name}.csv"} for name in ("age", "education", "race")}
    rules = Policy.model_validate({"quasi_identifiers": columns, "k": 50, "suppression_limit": 0.02})
    release = anonymise(frame, rules)
    assert release.frame is not None
    told = utility_report(frame, release, rules)
    level = release.report["transformation"]["education"]
    tree = pl.read_csv(ADULT / "adult_hierarchy_education.csv", separator=";", has_header=False)
    leaves = tree.select(pl.col("column_1").alias("leaf"), pl.col(f"column_{level + 1}").alias("label"))
    n, kept = frame.height, release.frame.height
    query = f"""
        WITH spread AS (
            SELECT leaf, count(*) OVER () AS leaves, count(*) OVER (PARTITION BY label) AS width, label FROM leaves
        ), after AS (
            SELECT leaf, (coalesce(shown, 0) / width + ({n} - {kept}) / leaves) / {n} AS share
            FROM spread LEFT JOIN (SELECT education AS label, count(*) AS shown FROM published GROUP BY 1) USING (label)
        ), before AS (SELECT education AS leaf, count(*) / {n} AS share FROM original GROUP BY 1)
        SELECT sum(abs(coalesce(before.share, 0) - after.share)) / 2 FROM after LEFT JOIN before USING (leaf)
    """
    with duckdb.connect() as database:
        for name, table in (("leaves", leaves), ("published", release.frame), ("original", frame)):
            database.register(name, table)
        found = database.sql(query).fetchone()
    assert found is not None
    assert told["columns"]["education"]["total_variation"] == pytest.approx(found[0], abs=0.0005)


def _leaves(column: str) -> dict[str, set[str]]:
    leaves: dict[str, set[str]] = defaultdict(set)
    for row in TREES[column]:
        for label in row:
            leaves[label].add(row[0])
    return leaves


def _spread(label: str, column: str) -> dict[str, float]:
    if column not in TREES:
        return {label: 1.0}
    leaves = _leaves(column)[label]
    return dict.fromkeys(leaves, 1 / len(leaves))


def _domain(frame: pl.DataFrame, column: str) -> list[str]:
    return [row[0] for row in TREES[column]] if column in TREES else sorted(frame.get_column(column).unique())


def _distributions(frame: pl.DataFrame, released: pl.DataFrame, column: str) -> tuple[list[float], list[float]]:
    domain = _domain(frame, column)
    before = Counter(frame.get_column(column))
    after = dict.fromkeys(domain, (frame.height - released.height) / len(domain))
    for label in released.get_column(column):
        for leaf, share in _spread(label, column).items():
            after[leaf] += share
    return [before[leaf] / frame.height for leaf in domain], [after[leaf] / frame.height for leaf in domain]


def _distances(before: Sequence[float], after: Sequence[float], column: str) -> tuple[float, float, float | None]:
    variation = sum(abs(one - other) for one, other in zip(before, after, strict=True)) / 2

    def entropy(shares: Sequence[float]) -> float:
        return -sum(share * math.log2(share) for share in shares if share)

    middle = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    divergence = entropy(middle) - (entropy(before) + entropy(after)) / 2
    if column != "age":
        return variation, divergence, None
    carried = [sum(before[: rank + 1]) - sum(after[: rank + 1]) for rank in range(len(before) - 1)]
    return variation, divergence, sum(map(abs, carried)) / len(carried)


def _cramers(frame: pl.DataFrame, released: pl.DataFrame, first: str, other: str, k: int) -> tuple[float, float]:
    """Bergsma's V before and after, from tables of all pairs of values put together one row at a time."""
    category: dict[str, dict[str, str]] = {}
    for column in (first, other):
        counts = Counter(frame.get_column(column))
        rare = [value for value in _domain(frame, column) if counts[value] < k]
        if 0 < sum(counts[value] for value in rare) < k:
            rare.append(min((value for value in counts if value not in rare), key=lambda value: counts[value]))
        category[column] = {value: "rare" if value in rare else value for value in _domain(frame, column)}
    n = frame.height
    before: Counter[tuple[str, str]] = Counter()
    for one, two in frame.select(first, other).iter_rows():
        before[category[first][one], category[other][two]] += 1
    after: dict[tuple[str, str], float] = defaultdict(float)
    for one, two in released.select(first, other).iter_rows():
        for leaf, share in _spread(one, first).items():
            for beside, part in _spread(two, other).items():
                after[category[first][leaf], category[other][beside]] += share * part
    values = [len({pair[side] for pair in before}) for side in (0, 1)]
    most = min(r - (r - 1) ** 2 / (n - 1) for r in values) - 1
    told = [_told_apart(released, column, category[column]) for column in (first, other)]
    return _v(before, values, n, most), _v(after, told, released.height, most)


def _told_apart(released: pl.DataFrame, column: str, category: dict[str, str]) -> float:
    """The trace of the table of what is read against what is meant, rows meaning a text being alike."""
    of_text = Counter(released.get_column(column))
    meaning: dict[str, dict[str, float]] = {}
    for text in of_text:
        meaning[text] = defaultdict(float)
        for leaf, share in _spread(text, column).items():
            meaning[text][category[leaf]] += share
    total: dict[str, float] = defaultdict(float)
    for text, count in of_text.items():
        for name, share in meaning[text].items():
            total[name] += count * share
    return sum(
        count * share * (share / total[name])
        for text, count in of_text.items()
        for name, share in meaning[text].items()
    )  # fmt: skip


def _v(table: Any, values: Sequence[float], n: int, most: float) -> float:
    rows: dict[str, float] = defaultdict(float)
    columns: dict[str, float] = defaultdict(float)
    for (one, two), count in table.items():
        rows[one] += count
        columns[two] += count
    chi = sum(
        (table.get((one, two), 0) - rows[one] * columns[two] / n) ** 2 / (rows[one] * columns[two] / n)
        for one in rows
        for two in columns
    )
    surplus = chi / n - (values[0] - 1) * (values[1] - 1) / (n - 1)
    return min(math.sqrt(surplus / most), 1.0) if surplus > 1e-12 and most > 0 else 0.0


def _compare_classes(released: pl.DataFrame, rows: int, told: dict[str, Any], rules: Policy) -> None:
    sizes = sorted(Counter(released.select(rules.class_columns).iter_rows()).values())
    gone = rows - released.height
    assert told["discernibility"] == sum(size**2 for size in sizes) + gone * rows
    assert told["average_class"] == pytest.approx(rows / (len(sizes) + (gone > 0)), abs=0.005)
    assert told["class_sizes"]["largest"] == sizes[-1]
    assert told["class_sizes"]["mean"] == pytest.approx(released.height / len(sizes), abs=0.005)
    assert told["class_sizes"]["median"] == float(np.median(sizes))
    assert sum(told["class_sizes"]["bands"].values()) == len(sizes)


def test_classes_are_counted_in_children_not_rows(folder: Path) -> None:
    """A child with ten rows would make a class look ten times as safe."""
    rules = policy(folder, k=2, subject="child")
    frame = people(60, 2)
    release = anonymise(frame, rules)
    twice = pl.concat([frame, frame])
    doubled = anonymise(twice, rules)
    told = utility_report(twice, doubled, rules)
    assert told["class_sizes"] == utility_report(frame, release, rules)["class_sizes"]
    assert told["average_class"] == pytest.approx(2 * utility_report(frame, release, rules)["average_class"], abs=0.02)


def test_beside_a_population_the_values_are_those_of_the_frame() -> None:
    """The population's values are in the hierarchy of the search, and not what a recipient of these rows supposes."""
    frame = pl.DataFrame({"zipcode": ["1011", "1012", "1021", "1022"] * 5})
    people = pl.concat([frame, pl.DataFrame({"zipcode": ["9999"] * 30})])
    rules = Policy.model_validate({"quasi_identifiers": {"zipcode": {"prefix": [4, 0]}}, "k": 6, "k_map": {"k": 6}})
    release = anonymise(frame, rules, population=people)
    assert release.report["transformation"] == {"zipcode": 1}
    told = utility_report(frame, release, rules)
    assert told["columns"]["zipcode"]["total_variation"] == 0
    assert told["loss"] == pytest.approx(release.report["loss"])


def test_a_text_of_two_levels_means_what_its_level_says() -> None:
    """`a` is a value, and the beginning of others: published on the level of the values, it covers itself alone."""
    frame = pl.DataFrame({"code": ["a", "ab", "ac", "b"] * 30})
    rules = Policy.model_validate({"quasi_identifiers": {"code": {"prefix": [2, 1, 0]}}, "k": 30})
    told = utility_report(frame, anonymise(frame, rules), rules)
    assert (told["loss"], told["columns"]["code"]["total_variation"]) == (0, 0)
    release = anonymise(frame, rules.model_copy(update={"k": 40, "suppression_limit": 0.3}))
    assert release.report["transformation"] == {"code": 1}
    # Three quarters are spread over three values, and the rows of b over all four.
    told = utility_report(frame, release, rules.model_copy(update={"k": 1}))
    assert told["columns"]["code"]["total_variation"] == pytest.approx(1 / 4 - 1 / 16, abs=told["steps"]["shift"] / 2)


def test_a_text_of_another_level_is_not_what_is_meant(tmp_path: Path) -> None:
    """`x` is a value, and on the level above the name of two others: where that level is published, it is these."""
    (tmp_path / "odd.csv").write_text("x;y;*\np;x;*\nq;x;*")
    frame = pl.DataFrame({"code": ["x", "x", "p", "q"] * 30})
    rules = Policy.model_validate({"quasi_identifiers": {"code": {"hierarchy": tmp_path / "odd.csv"}}, "k": 60})
    release = anonymise(frame, rules)
    assert release.report["transformation"] == {"code": 1}
    told = utility_report(frame, release, rules.model_copy(update={"k": 1}))["columns"]["code"]
    assert told["total_variation"] == 0


def test_what_an_exact_column_tells_is_not_lost_with_another_one() -> None:
    """Where places are told no more, all that was known of them within a country is lost, whatever the country says."""
    frame = pl.DataFrame({"place": ["a", "b", "c", "d"] * 50, "country": ["GB", "GB", "ID", "ID"] * 50})
    rules = Policy.model_validate({"quasi_identifiers": {"place": {"prefix": [1, 0]}}, "k": 60, "exact": ["country"]})
    release = anonymise(frame, rules)
    assert release.report["transformation"] == {"place": 1}
    assert utility_report(frame, release, rules)["columns"]["place"]["entropy_lost"] == 1


# ── properties ───────────────────────────────────────────────────────────────────────────


def _identity(frame: pl.DataFrame, rules: Policy) -> Release:
    release = anonymise(frame, rules.model_copy(update={"k": 1}))
    assert release.report["loss"] == 0
    return release


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 60), seed=st.integers(0, 99), k=st.integers(1, 8))
def test_what_is_published_as_it_was_has_lost_nothing(folder: Path, rows: int, seed: int, k: int) -> None:
    frame = people(rows, seed)
    rules = policy(folder)
    told = utility_report(frame, _identity(frame, rules), rules.model_copy(update={"k": k}))
    assert (told["loss"], told["granularity"], told["precision"]) == (0, 1, 1)
    assert told["association"]["before"] == told["association"]["after"]
    assert (told["association"]["largest_change"], told["association"]["most_changed"]) == (0, None)
    for column in told["columns"].values():
        assert column.get("loss", 0) == column.get("entropy_lost", 0) == 0
        assert {column[figure] for figure in SHIFTS} <= {0, None}


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(20, 90), seed=st.integers(0, 99), case=st.sampled_from(sorted(CASES)))
def test_the_order_of_the_rows_changes_nothing_and_all_figures_are_within_bounds(
    folder: Path, rows: int, seed: int, case: str
) -> None:
    rules = policy(folder, **{**CASES[case], "k": 4})
    frame = people(rows, seed)
    release = anonymise(frame, rules)
    if release.frame is None:
        with pytest.raises(DataError, match="no release"):
            utility_report(frame, release, rules)
        return
    told = utility_report(frame, release, rules)
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert utility_report(mixed, replace(release, frame=release.frame.reverse()), rules) == told
    assert utility_report(mixed, anonymise(mixed, rules), rules) == told
    between = [figure for side in ("before", "after") for row in told["association"][side] for figure in row]
    within = [told["loss"], told["granularity"], told["precision"], told["discernibility_share"], *between]
    for column in told["columns"].values():
        within += [figure for name, figure in column.items() if name != "role" and figure is not None]
    assert all(0 <= figure <= 1 for figure in within)
    json.dumps(told, allow_nan=False)


def test_with_everything_left_out_nothing_but_the_possible_values_is_known(folder: Path) -> None:
    frame = people(500, 1)
    rules = policy(folder, k=1)
    release = _identity(frame, rules)
    assert release.frame is not None
    assert release.tally is not None
    none = replace(release, frame=release.frame.clear(), tally=replace(release.tally, suppressed=500, classes=0))
    told = utility_report(frame, none, rules)
    for column in ("place", "age", "sex", "reason"):
        domain = _domain(frame, column)
        counts = Counter(frame.get_column(column))
        variation = sum(abs(counts[value] / 500 - 1 / len(domain)) for value in domain) / 2
        assert told["columns"][column]["total_variation"] == pytest.approx(variation, abs=0.0011)
    assert all(row[place] == 1 for place, row in enumerate(told["association"]["after"]))
    assert sum(map(sum, told["association"]["after"])) == len(told["association"]["columns"])


def test_a_column_told_no_more_hangs_together_with_nothing(folder: Path) -> None:
    frame = people(400, 2)
    rules = policy(folder)
    release = _identity(frame, rules)
    assert release.frame is not None
    hidden = replace(
        release,
        frame=release.frame.with_columns(pl.lit("*").alias("place")),
        report={**release.report, "partitions": [{"transformation": {"place": 2, "age": 0, "sex": 0}}]},
    )
    between = utility_report(frame, hidden, rules)["association"]
    place = between["columns"].index("place")
    assert between["before"][place][between["columns"].index("age")] > 0.2
    assert [figure for at, figure in enumerate(between["after"][place]) if at != place] == [0.0] * 3


def test_coarser_values_never_hang_together_more(folder: Path) -> None:
    """Between the texts themselves V would rise, because there are fewer of them: the report would call the loss of
    information a gain."""
    frame = people(4000, 11)
    rules = policy(folder, k=5)
    release = _identity(frame, rules)
    assert release.frame is not None
    pairs = {row[0]: row[1] for row in TREES["place"]}
    coarser = replace(
        release,
        frame=release.frame.with_columns(pl.col("place").replace_strict(pairs)),
        report={**release.report, "partitions": [{"transformation": {"place": 1, "age": 0, "sex": 0}}]},
    )
    between = utility_report(frame, coarser, rules)["association"]
    step = 0.01
    assert all(
        after <= before + step
        for row, other in zip(between["before"], between["after"], strict=True)
        for before, after in zip(row, other, strict=True)
    )


def test_leaving_out_whoever_is_unusual_is_seen(folder: Path) -> None:
    """Planted: a release without the women, who are a fifth, has no generalised value and a Loss as if they had been
    taken at random."""
    frame = people(1000, 4)
    rules = policy(folder, k=1)
    release = _identity(frame, rules)
    assert release.frame is not None
    assert release.tally is not None
    men = release.frame.filter(pl.col("sex") == "m")
    gone = 1000 - men.height
    partial = replace(release, frame=men, tally=replace(release.tally, suppressed=gone))
    told = utility_report(frame, partial, rules)["columns"]
    assert told["sex"]["total_variation"] == pytest.approx(gone / 2000, abs=0.0006)
    assert told["reason"]["total_variation"] < 0.05


def test_columns_that_change_places_are_seen(folder: Path) -> None:
    """Planted: labels that went to the wrong rows leave every distribution as it was; associations are gone."""
    frame = people(3000, 9)
    rules = policy(folder, k=1)
    release = _identity(frame, rules)
    assert release.frame is not None
    wrong = replace(release, frame=release.frame.with_columns(pl.col("place").shuffle(1)))
    told = utility_report(frame, wrong, rules)
    assert told["columns"]["place"]["total_variation"] == 0
    assert told["association"]["largest_change"] > 0.2
    assert "place" in told["association"]["most_changed"]


@pytest.mark.parametrize("wrong", ["value", "rows", "column"])
def test_a_release_of_something_else_is_refused(folder: Path, wrong: str) -> None:
    """A report that compares two tables that have nothing to do with each other would look like any other."""
    frame = people(200, 1)
    rules = policy(folder)
    release = anonymise(frame, rules)
    assert release.frame is not None
    other, changed = frame, release
    if wrong == "value":
        changed = replace(release, frame=release.frame.with_columns(pl.lit("secret 7f3a").alias("place")))
    elif wrong == "rows":
        other = frame.head(150)
    else:
        other = frame.drop("reason")
    with pytest.raises(DataError) as refused:
        utility_report(other, changed, rules)
    assert "7f3a" not in str(refused.value)


def test_days_and_intervals_are_in_order_and_a_missing_value_has_no_rank() -> None:
    frame = pl.DataFrame(
        {
            "born": pl.Series(["2010-02-01", "2011-05-01", "2012-08-01", None] * 500).str.to_date(),
            "income": [5.0, 15.0, 250.0, None] * 500,
        }
    )
    columns = {"born": {"date": ["year", "*"]}, "income": {"intervals": [0, 10, 100], "then": ["*"]}}
    rules = Policy.model_validate({"quasi_identifiers": columns, "k": 2000})
    told = utility_report(frame, anonymise(frame, rules), rules)["columns"]
    # Everything is `*`, and the years are as likely as each other.
    assert told["born"]["earth_mover"] == 0
    rules = rules.model_copy(update={"k": 1})
    release = anonymise(frame, rules)
    assert release.frame is not None
    assert release.frame.get_column("born").to_list().count("unknown") == 500
    hidden = replace(
        release,
        frame=release.frame.with_columns(pl.lit("*").alias("income")),
        report={**release.report, "partitions": [{"transformation": {"born": 0, "income": 1}}]},
    )
    income = utility_report(frame, hidden, rules)["columns"]["income"]
    # Known rows 0, 1/3, 1/3, 1/3 of the four intervals; supposed: a quarter each.
    assert income["earth_mover"] == pytest.approx(((1 / 4) + (1 / 6) + (1 / 12)) / 3, abs=0.0006)
    # With the unknown: five values with a fifth each.
    assert income["total_variation"] == pytest.approx(1 / 5, abs=0.0006)


def test_sensitive_columns_have_the_order_of_the_policy() -> None:
    frame = pl.DataFrame({"age": [1] * 60, "grade": (["low"] * 40 + ["middle"] * 10 + ["high"] * 10)})
    ordered = {"t_closeness": {"kind": "ordered", "t": 1.0, "order": ["low", "middle", "high"]}}
    rules = Policy.model_validate(
        {"quasi_identifiers": {"age": {"intervals": [0, 5]}}, "sensitive": {"grade": ordered}, "k": 1}
    )
    release = anonymise(frame, rules)
    assert release.frame is not None
    assert release.tally is not None
    kept = release.frame.filter(pl.col("grade") != "high")
    partial = replace(release, frame=kept, tally=replace(release.tally, suppressed=10))
    told = utility_report(frame, partial, rules)["columns"]["grade"]
    third = 10 / 3
    moved = (third / 60 + abs(40 + 2 * third + 10 - 50) / 60) / 2
    assert told["earth_mover"] == pytest.approx(moved, abs=0.01)
    # Without a list of values the order is the alphabet's, as for the distance of the classes: high, low, middle.
    ordered["t_closeness"].pop("order")
    alphabetical = Policy.model_validate({**rules.model_dump(), "sensitive": {"grade": ordered}})
    told = utility_report(frame, partial, alphabetical)["columns"]["grade"]
    moved = ((10 - third) / 60 + third / 60) / 2
    assert told["earth_mover"] == pytest.approx(moved, abs=0.01)


# ── what must not be told ────────────────────────────────────────────────────────────────


@settings(max_examples=200, deadline=None)
@given(rows=st.integers(1, 10**7), k=st.integers(1, 60))
def test_figures_are_given_in_steps_of_k_rows_at_least(rows: int, k: int) -> None:
    """With all its digits a figure and the release together tell the values of the few rows that were left out."""
    step = step_of(rows, k, 0.001)
    assert step >= min(k / rows, 1) - 1e-12
    assert 0.001 <= step <= max(2.5 * k / rows, 0.001) + 1e-9


@pytest.mark.parametrize("name", CASES)
def test_every_figure_that_rests_on_the_original_is_in_steps(folder: Path, name: str) -> None:
    rules = policy(folder, **CASES[name])
    frame = people(700, 5)
    told = utility_report(frame, anonymise(frame, rules), rules)
    figures = [
        (column[figure], told["steps"]["shift"])
        for column in told["columns"].values()
        for figure in (*SHIFTS, "entropy_lost")
        if column.get(figure) is not None
    ]
    figures += [
        (figure, told["steps"]["association"])
        for side in ("before", "after")
        for place, row in enumerate(told["association"][side])
        for figure in row[:place]
    ]
    assert len(figures) > 20
    assert all(figure / step == pytest.approx(round(figure / step)) for figure, step in figures)


def test_one_value_of_one_row_left_out_cannot_be_read(folder: Path) -> None:
    """Whoever has the release and the report, and knows all rows but one that was left out, must not learn its
    sensitive value: both worlds look the same."""
    base = people(999, 3)
    rules = policy(folder, k=5)
    release = _identity(base, rules)
    assert release.tally is not None
    seen = set()
    for reason in ("need", "loss", "study"):
        missing = base.head(1).with_columns(pl.lit(reason).alias("reason"))
        frame = pl.concat([base, missing])
        partial = replace(release, tally=replace(release.tally, rows=1000, suppressed=1))
        seen.add(json.dumps(utility_report(frame, partial, rules)))
    assert len(seen) == 1


def test_no_value_of_a_row_is_in_the_report(folder: Path) -> None:
    """It is kept in clear, while the tables are encrypted: the same table under other names gives the same report."""
    frame = people(500, 7)
    rules = policy(folder, exact=["country"])
    release = anonymise(frame, rules)
    assert release.frame is not None
    told = utility_report(frame, release, rules)
    names = {"need": "Kebutuhan", "loss": "Kehilangan", "study": "Sekolah", "GB": "Inggris", "ID": "Indonesia"}
    order = sorted(names, key=names.__getitem__)
    renamed = [
        one.with_columns(pl.col("reason", "country").replace_strict(names)) for one in (frame, release.frame)
    ]  # the order of the values stays
    assert [name for name in order if name in ("loss", "need", "study")] == ["need", "loss", "study"]
    assert utility_report(renamed[0], replace(release, frame=renamed[1]), rules) == told
    text = json.dumps(told)
    assert not any(f'"{value}"' in text for column in TREES.values() for row in column for value in row)
    assert not any(f'"{value}"' in text for value in set(names) - {"loss"})
    assert "child 1" not in text


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 12), st.integers(1, 8))
def test_few_rows_are_never_a_category(rows: list[int], least: int, most: int) -> None:
    """Who is alone with two values would show as an association of 1."""
    category = pooled(np.array(rows), least, most)
    sizes = np.bincount(category, weights=rows)
    assert len(category) == len(rows)
    assert len(sizes) <= most + 1
    assert all(size >= least for size in sizes if size) or sum(rows) < least
    # What is frequent enough stays by itself, but for one at the most.
    alone = [row for row, own in zip(rows, category, strict=True) if own and row]
    assert len(alone) >= min(sum(row >= least for row in rows), most) - 1


def test_a_column_of_very_many_values_is_compared_in_the_most_frequent_ones() -> None:
    """Tables of all pairs of villages would not fit into memory."""
    random = np.random.default_rng(1)
    codes = [f"{11 + number % 30}.01.01.{1000 + number}" for number in random.integers(0, 4000, 60_000)]
    frame = pl.DataFrame({"village": codes, "other": codes[::-1], "sex": [code[1] for code in codes]})
    columns = {name: {"codes": "wilayah"} for name in ("village", "other")} | {"sex": {"prefix": [1]}}
    rules = Policy.model_validate({"quasi_identifiers": columns, "k": 1})
    release = anonymise(frame, rules)
    between = utility_report(frame, release, rules)["association"]
    assert between["before"] == between["after"]
    assert between["before"][0][2] > 0.1
    assert counted(np.array([0, 1]), np.array([1, 0])).tolist() == [[0, 1], [1, 0]]
    assert MOST_CATEGORIES < 4000
