"""In local recoding one text stands for one set of values.

A review found releases that their own verifier refused: `Jakarta` stood for the city in some rows and for the whole
agglomeration in others, so that two classes were read as one, and what hid the one was counted as the other.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from merajut_assets.privacy import Policy, PolicyError, Release, anonymise, utility_report
from merajut_assets.privacy.attack import covered
from merajut_assets.privacy.hierarchy import Hierarchy, build_hierarchy, with_labels_apart
from merajut_assets.privacy.history import CLASS, RELEASE, signatures
from merajut_assets.privacy.policy import QuasiIdentifier
from merajut_assets.privacy.requirements import judge
from merajut_assets.privacy.verify_history import verify_history

CITIES = ("Jakarta", "Depok", "Bekasi", "Surabaya", "Gresik", "Sidoarjo")
CODES = ("11", "11.01", "11.01.02.2001", "11.01.03.2002", "12.01", "12.02.01.2003", "12.03.01.2003")
ZIPS = ("1234", "12345", "12346", "1235", "9876", "98765")
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cities, the agglomerations that are named after the largest of them, and everything."""
    path = tmp_path_factory.mktemp("cities") / "cities.csv"
    path.write_text(
        "".join(f"{city};{'Jakarta' if place < 3 else 'Surabaya'};*\n" for place, city in enumerate(CITIES)),
        encoding="utf-8",
    )
    return path


def people(values: tuple[str, ...], seed: int, count: int = 300) -> pl.DataFrame:
    generator = random.Random(seed)
    return pl.DataFrame(
        {
            "place": [generator.choice(values) for _ in range(count)],
            "age": [generator.randrange(100) for _ in range(count)],
            "sex": [generator.choice("mf") for _ in range(count)],
            "why": [generator.choice("pqrs") for _ in range(count)],
        }
    )


def policy(place: dict[str, Any], **more: Any) -> Policy:
    return Policy.model_validate(
        {
            "quasi_identifiers": {
                "place": place,
                "age": {"intervals": list(range(0, 101, 5)), "then": [2, "*"]},
                "sex": {"prefix": [1, 0]},
            },
            "k": 5,
            "search": "local",
            "sensitive": {"why": {"l_diversity": {"l": 2}}},
            **more,
        }
    )


def assert_judged_well(frame: pl.DataFrame, rules: Policy, release: Release) -> pl.DataFrame:
    published = release.frame
    assert published is not None
    assert judge(published, frame, rules, release.report["transformation"]).broken == []
    assert published.select(rules.class_columns).n_unique() == release.report["classes"]
    return published


def meanings(hierarchy: Hierarchy, least: int = 0) -> dict[str, list[frozenset[int]]]:
    """Per text the different sets of domain rows that it stands for on some level, finest level first."""
    found: dict[str, list[frozenset[int]]] = {}
    for level in range(least, hierarchy.levels):
        for code, text in enumerate(hierarchy.labels[level]):
            leaves = frozenset((hierarchy.codes[level] == code).nonzero()[0].tolist())
            sets = found.setdefault(text, [])
            if leaves not in sets:
                sets.append(leaves)
    return found


# ── the three that were found ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", [0, 1])
def test_cities_and_agglomerations_of_one_name(cities: Path, seed: int) -> None:
    frame, rules = people(CITIES, seed), policy({"hierarchy": cities})
    published = assert_judged_well(frame, rules, anonymise(frame, rules))
    shown = set(published.get_column("place"))
    assert shown <= {*CITIES, "Jakarta (level 1)", "Surabaya (level 1)", "*"}
    assert shown & {"Jakarta (level 1)", "Surabaya (level 1)"}


@pytest.mark.parametrize("seed", [0, 1])
def test_region_codes_of_mixed_depth(seed: int) -> None:
    frame, rules = people(CODES, seed), policy({"codes": "wilayah"})
    published = assert_judged_well(frame, rules, anonymise(frame, rules))
    # All villages of the district, and not only those of whom no more than the district is recorded.
    assert set(published.get_column("place")) & {"11", "11.01", "12"}


@pytest.mark.parametrize("seed", [1, 2])
def test_postal_codes_of_four_and_five_digits(seed: int) -> None:
    frame, rules = people(ZIPS, seed), policy({"prefix": [5, 4, 3, 0]})
    assert_judged_well(frame, rules, anonymise(frame, rules))


# ── any hierarchy ────────────────────────────────────────────────────────────────────────


@st.composite
def written_hierarchies(draw: st.DrawFn) -> str:
    """A nested hierarchy, the labels of all levels being of the same few words."""
    words = ["a", "b", "c", "d", "e", "*", "a (level 1)"]
    values = draw(st.permutations(words))[: draw(st.integers(2, 6))]
    groups, columns = list(range(len(values))), [values]
    for _ in range(draw(st.integers(1, 3))):
        joined = draw(st.lists(st.integers(0, 3), min_size=6, max_size=6))
        groups = [joined[group] for group in groups]
        names = draw(st.permutations(words))
        columns.append([names[group] for group in groups])
    if draw(st.booleans()):
        columns.append(["*"] * len(values))
    return "".join(";".join(line) + "\n" for line in zip(*columns, strict=True))


def built(column: pl.Series, spec: QuasiIdentifier) -> Hierarchy:
    try:
        return build_hierarchy(column, spec)
    except PolicyError:
        # A null beside labels that are `*` on a level below the last is refused.
        reject()


@given(text=written_hierarchies(), least=st.integers(0, 1), null=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_text_stands_for_one_set_of_values(
    tmp_path_factory: pytest.TempPathFactory, text: str, least: int, null: bool
) -> None:
    """And a label is renamed only where it must be: the finest of several meanings, and `*` for all, stay."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8")
    spec = QuasiIdentifier(hierarchy=path, least_level=least)
    values = [line.split(";")[0] for line in text.splitlines()]
    plain = built(pl.Series("place", [*values, *([None] if null else [])]), spec)
    apart = with_labels_apart(plain, spec)
    found = meanings(apart, least)
    assert all(len(sets) == 1 for sets in found.values())
    everything = frozenset(range(plain.domain))
    for label, sets in meanings(plain, least).items():
        if label == "*":
            assert found.get(label, [everything]) == [everything]
        else:
            assert found[label] == sets[:1]
    assert [label.dtype for label in apart.labels] == [pl.String] * apart.levels


@given(
    text=written_hierarchies(),
    seed=st.integers(0, 1000),
    rules=st.fixed_dictionaries(
        {
            "k": st.integers(1, 4),
            "suppression_limit": st.sampled_from([0.0, 0.2]),
            "exact": st.sampled_from([[], ["x"]]),
        }
    ),
    null=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_what_is_published_is_what_was_judged(
    tmp_path_factory: pytest.TempPathFactory, text: str, seed: int, rules: dict[str, Any], null: bool
) -> None:
    """The verifier reads texts alone; it must find the classes that the engine counted, none of them narrowed."""
    path = tmp_path_factory.getbasetemp() / "colliding.csv"
    path.write_text(text, encoding="utf-8")
    values = [*(line.split(";")[0] for line in text.splitlines()), *([None] if null else [])]
    generator = random.Random(seed)
    count = generator.randrange(5, 60)
    frame = pl.DataFrame(
        {
            "place": [generator.choice(values) for _ in range(count)],
            "other": [generator.choice(["1", "12", "123", "13", "2"]) for _ in range(count)],
            "x": [generator.choice("xy") for _ in range(count)],
            "why": [generator.choice("pqr") for _ in range(count)],
        },
        schema_overrides={"place": pl.String},
    )
    asked = Policy.model_validate(
        {
            "quasi_identifiers": {"place": {"hierarchy": path}, "other": {"prefix": [3, 2, 1, 0]}},
            "search": "local",
            "sensitive": {"why": {"l_diversity": {"l": 2}}} if seed % 2 else {},
            **rules,
        }
    )
    built(frame.get_column("place"), asked.quasi_identifiers["place"])
    release = anonymise(frame, asked)
    assume(release.frame is not None)
    published = assert_judged_well(frame, asked, release)
    told = utility_report(frame, release, asked)
    assert told["class_sizes"]["mean"] == pytest.approx(published.height / release.report["classes"], abs=0.01)


# ── what a text may tell ─────────────────────────────────────────────────────────────────


def shown(values: list[str | None], **spec: Any) -> dict[str | None, list[str]]:
    """What each value is published as, level by level."""
    rules = QuasiIdentifier.model_validate(spec)
    apart = with_labels_apart(build_hierarchy(pl.Series("place", values), rules), rules)
    return dict(zip(values, zip(*(apart.published(n) for n in range(apart.levels)), strict=True), strict=True))  # type: ignore[arg-type]


def test_a_whole_value_is_told_from_a_beginning() -> None:
    texts = shown(["1234", "12345", "98", "9", None], prefix=[5, 4, 2, 0])
    assert texts == {
        "1234": ("1234 (whole)", "1234", "12", "*"),
        "12345": ("12345", "1234", "12", "*"),
        "98": ("98 (whole)", "98 (whole)", "98", "*"),
        "9": ("9", "9", "9", "*"),
        None: ("unknown", "unknown", "unknown", "*"),
    }


def test_a_text_does_not_tell_which_longer_values_there_are() -> None:
    """All rows of 12345 may be suppressed; that 1234 is shown otherwise because of it would tell that it is there."""
    with_it, without = (shown(["1234", other, "98765"], prefix=[5, 4, 0]) for other in ("12345", "55555"))
    assert with_it["1234"] == without["1234"] == ("1234 (whole)", "1234", "*")


def test_values_of_one_length_keep_their_texts() -> None:
    """Districts are no villages cut short where nobody's village is recorded."""
    assert shown(["11.01", "11.02"], codes="wilayah")["11.01"] == ("11.01", "11.01", "11.01", "11", "*")


def test_notes_are_repeated_until_the_text_is_nobody_elses() -> None:
    texts = shown(["12", "12 (whole)", "1"], prefix=[10, 2, 1, 0])
    assert texts["12"][0] == "12 (whole) (whole)"
    assert texts["12 (whole)"][0] == "12 (whole)"


def test_levels_below_the_least_one_are_in_nobodys_way(cities: Path) -> None:
    spec = QuasiIdentifier(hierarchy=cities, least_level=1)
    apart = with_labels_apart(build_hierarchy(pl.Series("place", CITIES), spec), spec)
    assert apart.labels[1].to_list() == ["Jakarta", "Surabaya"]


def test_one_generalisation_for_all_keeps_its_texts(cities: Path) -> None:
    """A column of one level cannot be misread, and what was published as `Jakarta` must not change."""
    frame = people(CITIES, 0)
    spec = {"hierarchy": cities, "least_level": 0}
    rules = policy(spec, search="optimal", k=20, suppression_limit=0.1)
    release = anonymise(frame, rules)
    assert release.frame is not None
    plain = build_hierarchy(frame.get_column("place"), rules.quasi_identifiers["place"])
    level = release.report["transformation"]["place"]
    assert set(release.frame.get_column("place")) <= set(plain.labels[level])


# ── who else reads the texts ─────────────────────────────────────────────────────────────


def test_an_enum_holds_the_texts_that_are_published(cities: Path) -> None:
    frame, rules = people(CITIES, 0), policy({"hierarchy": cities})
    plain, compact = anonymise(frame, rules).frame, anonymise(frame, rules, as_enum=True).frame
    assert plain is not None
    assert compact is not None
    texts = compact.get_column("place")
    assert texts.cast(pl.String).equals(plain.get_column("place"))
    assert texts.cat.get_categories().to_list() == sorted(set(plain.get_column("place")))


def test_an_attacker_reads_them_as_they_are_meant(cities: Path) -> None:
    """A label that the attack cannot read would count as nobody, and the share guessed right as larger than it is."""
    pairs = covered(pl.Series(CITIES), pl.Series(["Jakarta", "Jakarta (level 1)"]), QuasiIdentifier(hierarchy=cities))
    assert dict(pairs.group_by("label").len().iter_rows()) == {"Jakarta": 1, "Jakarta (level 1)": 3}
    pairs = covered(pl.Series(ZIPS), pl.Series(["1234 (whole)"]), QuasiIdentifier(prefix=(5, 4, 0)))
    assert pairs.rows() == [("1234 (whole)", "1234")]


def test_releases_beside_each_other_keep_their_classes(cities: Path) -> None:
    """What is kept of a release are digests of its texts: classes of one text would be each other's candidates."""
    frame = people(CITIES, 3, 200).with_row_index("child").with_columns(pl.col("child").cast(pl.String))
    rules = policy({"hierarchy": cities}, subject="child", k=3, suppression_limit=0.5)
    history = signatures(frame.clear(), rules, KEY).with_columns(pl.lit("").alias(RELEASE))
    for month, present in (("2026-01", frame[:180]), ("2026-02", frame[20:])):
        release = anonymise(present, rules, history=history)
        published = assert_judged_well(present, rules, release)
        kept = signatures(published, rules, KEY).with_columns(pl.lit(month).alias(RELEASE))
        assert kept.get_column(CLASS).n_unique() == release.report["classes"]
        history = pl.concat([history, kept])
    assert verify_history(history)["candidates"] >= rules.k
