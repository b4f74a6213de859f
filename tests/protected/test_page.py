"""The page of a protected dataset: compliance staff read there what was promised, what was reached and what is left."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from urllib.parse import unquote
from xml.etree import ElementTree

import dagster as dg
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.stakeholder import Aggregate, StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.hierarchy import build_hierarchy
from merajut_assets.privacy.policy import QuasiIdentifier
from merajut_assets.privacy.utility import size_bands
from merajut_assets.protected.assets import build_protected_assets
from merajut_assets.protected.page import (
    BAR_WIDTH,
    NOT_RECORDED,
    SHADES,
    SHOWN_AT_ONCE,
    bar_chart,
    heat_map,
    level_names,
    privacy_page,
)
from merajut_assets.protected.pipeline import UTILITY_REPORT, entities_of
from merajut_assets.protected.release import examine_stored, read_release, release_dataset
from resources.lakehouse import Lakehouse
from tests.protected.conformed_world import RELEASE

DATASETS = [(policy, name) for policy in stakeholder_policies().values() for name in policy.datasets]
MICRODATA = [(policy, name) for policy, name in DATASETS if name in policy.microdata]
QUASI_IDENTIFIERS = [
    pytest.param(spec, id=f"{policy.stakeholder}-{name}-{column}")
    for policy, name in MICRODATA
    for column, spec in policy.microdata[name].privacy.quasi_identifiers.items()
]
IMAGE = re.compile(r"!\[(?P<said>.*)\]\(<data:image/svg\+xml,(?P<svg>[^<>]*)>\)")
SVG = "{http://www.w3.org/2000/svg}"
GOVERNMENT = stakeholder_policies()["government"]


def _page_of(
    lakehouse: Lakehouse, policy: StakeholderPolicy, name: str
) -> tuple[TableContract, dict[str, object], dict[str, str]]:
    contract = registry.protected_dataset(policy.stakeholder, name)
    facts = release_dataset(lakehouse, contract, policy, RELEASE)
    stored = read_release(lakehouse, contract, RELEASE, "test")
    return contract, dict(facts), privacy_page(contract, policy, facts, stored)


def _cells(table: str) -> dict[str, list[str]]:
    """The rows of a Markdown table by their first cell."""
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows[2:]}


def _drawn(markdown: str) -> tuple[str, ElementTree.Element]:
    found = IMAGE.fullmatch(markdown)
    assert found is not None
    return found["said"], ElementTree.fromstring(unquote(found["svg"]))


@pytest.mark.parametrize(("policy", "name"), DATASETS, ids=lambda value: getattr(value, "stakeholder", value))
def test_every_page_is_seen_without_a_click(lakehouse: Lakehouse, policy: StakeholderPolicy, name: str) -> None:
    """Dagster hides longer Markdown behind a click, and HTML in it is stripped: who looks would see nothing."""
    _, _, page = _page_of(lakehouse, policy, name)
    assert "policy" in page
    for entry in page.values():
        assert 0 < len(entry) < SHOWN_AT_ONCE
        assert not re.search(r"<(?!data:image/svg\+xml,)", entry.replace("“< ", "").replace("|< ", "|"))
    for entry in (entry for key, entry in page.items() if key.startswith("utility")):
        _drawn(entry)


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_a_page_about_persons_tells_policy_levels_reached_risk_and_what_is_left(
    lakehouse: Lakehouse, policy: StakeholderPolicy, name: str
) -> None:
    contract, facts, page = _page_of(lakehouse, policy, name)
    privacy = policy.microdata[name].privacy
    evidence = examine_stored(lakehouse, contract, policy, RELEASE).facts
    assert _cells(page["policy"])["k (different persons in a class)"] == [str(privacy.k)]
    assert set(_cells(page["policy_columns"])) == {*privacy.quasi_identifiers, *privacy.sensitive}
    reached = _cells(page["reached"])
    assert reached["k"] == [f"≥ {privacy.k}", str(evidence["k"])]
    for column, least in ((column, rule.l_diversity) for column, rule in privacy.sensitive.items()):
        if least is not None:
            assert reached[f"l (distinct) of {column}"] == [f"≥ {least.l:g}", str(evidence["l"][column])]
    closeness = {column: rule.t_closeness for column, rule in privacy.sensitive.items() if rule.t_closeness}
    for column, close in closeness.items():
        wanted = f"{facts[f't_{close.kind}_{column}']:.3g}"
        assert reached[f"t ({close.kind}) of {column}"] == [f"≤ {close.t:g}", wanted]
    for column, spec in privacy.quasi_identifiers.items():
        published = level_names(spec)[int(str(facts[f"level_{column}"]))]
        assert published.replace("*", "\\*") in _cells(page["levels"])[column][0]
    risk = _cells(page["risk"])
    assert risk["Prosecutor, highest (1 / smallest class)"][0] == f"{100 / evidence['k']:.3g} %"
    said, _ = _drawn(page["utility_rows"])
    assert f"published {evidence['rows']}" in said


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_the_loss_is_the_geometric_mean_of_the_columns(
    lakehouse: Lakehouse, policy: StakeholderPolicy, name: str
) -> None:
    """What the columns are said to have kept is what the loss of the whole is made of."""
    _, facts, _ = _page_of(lakehouse, policy, name)
    lost = [
        1 + float(str(facts[f"column_loss_{column}"])) for column in policy.microdata[name].privacy.quasi_identifiers
    ]
    assert math.prod(lost) ** (1 / len(lost)) - 1 == pytest.approx(facts["loss"])


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_every_figure_of_the_utility_report_is_on_the_page(
    lakehouse: Lakehouse, policy: StakeholderPolicy, name: str
) -> None:
    """Compliance staff must see what protection has cost without opening the metadata one by one."""
    _, facts, page = _page_of(lakehouse, policy, name)
    report = json.loads(str(facts[UTILITY_REPORT]))
    privacy = policy.microdata[name].privacy
    assert report["loss"] == pytest.approx(facts["loss"], abs=1e-6)
    assert report["rows"] - report["suppressed"] == facts["rows"]
    shown = " ".join(cell for row in _cells(page["information"]).values() for cell in row)
    for figure in (report["loss"], report["granularity"], report["precision"]):
        assert f"{figure:.3g}" in shown
    assert f"{100 * report['discernibility_share']:.3g} %" in shown
    assert f"{report['average_class']:g}" in shown
    sizes = report["class_sizes"]
    assert f"{sizes['mean']:g}, {sizes['median']:g}, {sizes['largest']}" in shown
    assert f"{report['association']['largest_change']:g}" in shown
    rows = _cells(page["information_columns"])
    assert set(rows) == {*privacy.class_columns, *privacy.sensitive} == set(report["columns"])
    for column, told in report["columns"].items():
        figures = ("loss", "entropy_lost", "total_variation", "jensen_shannon", "earth_mover")
        assert rows[column] == ["–" if told.get(name) is None else f"{told[name]:.3g}" for name in figures]
    said, _ = _drawn(page["utility_shift"])
    for column in privacy.quasi_identifiers:
        assert f"{column} {100 * report['columns'][column]['total_variation']:.3g} %" in said
    assert page["association"].startswith("![Association of columns](<data:image/svg+xml,")
    assert all(column in page["association"] for column in report["columns"])


def test_the_reading_of_the_requirement_is_told_where_it_is_shown(lakehouse: Lakehouse) -> None:
    """0.1 % cannot be 1 / k; whoever reads it must see which attacker is meant, and the other beside it."""
    _, facts, page = _page_of(lakehouse, GOVERNMENT, "child_summary")
    assert "< 0.1 %" in page["risk"]
    assert "our interpretation" in page["risk"]
    risk = _cells(page["risk"])
    assert risk["Linkage: children guessed right"][1] == "0.1 %"
    assert risk["Linkage, presence known: 1 / k in a class"][0] == f"{100 * facts['risk_linkage_within_class']:.3g} %"  # type: ignore[operator]


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_the_population_behind_a_release_is_told(
    lakehouse: Lakehouse, entities: dict[str, pl.DataFrame], policy: StakeholderPolicy, name: str
) -> None:
    """Children are looked up among all inhabitants; of others there is no such table, but it is known of how many
    people there are records. What a row's owner risks among them was measured by commands alone."""
    contract, facts, page = _page_of(lakehouse, policy, name)
    risk = _cells(page["risk"])
    (told,) = (row for row in risk if row.startswith("Unique in the population"))
    assert risk[told][0] == "0 %"
    entity, column = contract.column(contract.key[0]).sources[0].split(".")
    people = entities[entity].get_column(column).n_unique()
    is_child = "risk_linkage_highest" in facts
    size = entities["population"].get_column("inhabitants").sum() if is_child else people
    assert facts["risk_population_uniqueness_population"] == size
    assert is_child == ("Journalist, highest" in risk)
    if not is_child:
        assert facts["risk_population_uniqueness_sampling_fraction"] == pytest.approx(facts["rows"] / people)


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_no_value_of_a_row_is_on_a_page(lakehouse: Lakehouse, policy: StakeholderPolicy, name: str) -> None:
    """Metadata is kept in the event log in clear, while the table is encrypted: rows whose values all have other names
    must have the same page."""
    contract, facts, page = _page_of(lakehouse, policy, name)
    stored = read_release(lakehouse, contract, RELEASE, "test")
    renamed = stored.with_columns(
        (pl.lit(f"renamed {column} ") + pl.col(column).cast(pl.String).rank("dense").cast(pl.String)).alias(column)
        for column in stored.columns
    )
    assert privacy_page(contract, policy, facts, renamed) == page  # type: ignore[arg-type]


@pytest.mark.parametrize(("policy", "name"), MICRODATA, ids=lambda value: getattr(value, "stakeholder", value))
def test_nothing_that_the_small_world_says_of_a_person_is_on_a_page(
    lakehouse: Lakehouse, entities: Mapping[str, pl.DataFrame], policy: StakeholderPolicy, name: str
) -> None:
    """The utility report is made from the rows before they are anonymised, and their values must not travel in it."""
    contract, facts, page = _page_of(lakehouse, policy, name)
    stored = read_release(lakehouse, contract, RELEASE, "test")
    told = f"{' '.join(unquote(entry) for entry in page.values())} {facts[UTILITY_REPORT]}"
    words = {word.strip(".()*“”") for word in re.findall(r"[^\s|,;:'\"<>]+", told)}
    values = {value for column in stored.select(pl.col(pl.String)) for value in column.drop_nulls().unique()}
    for entity in (entities[source] for source in entities_of(contract)):
        people = [column for column in entity.columns if column.endswith("_token")]
        texts = entity.select(pl.col(pl.String)).columns if people else []
        values |= {value for column in texts for value in entity.get_column(column).drop_nulls().unique()}
    # What a policy says of columns is no value of a row, nor are the names of columns and levels.
    promised = set(
        re.findall(r"[\w-]+", f"{page['policy']} {page['policy_columns']} {page['levels']} {page['reached']}")
    )
    assert len(values) > 100
    assert {value for value in values if len(value) > 2} & words <= promised


@pytest.mark.parametrize("name", [name for name, one in GOVERNMENT.datasets.items() if isinstance(one, Aggregate)])
def test_a_page_about_groups_tells_k_and_what_was_withheld(lakehouse: Lakehouse, name: str) -> None:
    contract, facts, page = _page_of(lakehouse, GOVERNMENT, name)
    dataset = GOVERNMENT.datasets[name]
    assert isinstance(dataset, Aggregate)
    assert _cells(page["policy"])[f"k ({dataset.contributors} behind a row)"] == [str(dataset.k)]
    reached = _cells(page["reached"])
    assert reached[f"Fewest {dataset.contributors} behind a row"] == [str(facts["k"])]
    without = privacy_page(contract, GOVERNMENT, {k: v for k, v in facts.items() if k != "k"}, pl.DataFrame())  # type: ignore[misc]
    assert _cells(without["reached"])[f"Fewest {dataset.contributors} behind a row"] == ["no row is shown"]
    assert reached[f"Withheld: fewer than {dataset.k} {dataset.contributors}"] == [str(facts["cells_withheld_small"])]


def test_what_an_older_release_did_not_record_is_named(lakehouse: Lakehouse) -> None:
    """A release is written once: later versions must not show a figure for one that never had it."""
    contract, facts, _ = _page_of(lakehouse, GOVERNMENT, "child_summary")
    old = {
        name: value
        for name, value in facts.items()
        if not name.startswith(("column_loss", "level", "risk", "k", "utility"))
    }
    page = privacy_page(contract, GOVERNMENT, old, read_release(lakehouse, contract, RELEASE, "test"))  # type: ignore[arg-type]
    for entry in ("utility_columns", "utility_shift", "information", "information_columns", "association"):
        assert page[entry] == NOT_RECORDED
    assert all(row[0] == "not recorded" for row in _cells(page["levels"]).values())
    assert _cells(page["reached"])["k"][1] == "not recorded"


# ── the parts ────────────────────────────────────────────────────────────────────────────


SAMPLES: Mapping[str, pl.Series] = {
    "prefix": pl.Series("value", ["ab", "cd"]),
    "codes": pl.Series("value", ["31.71.01.1001", "32.04.02.2002"]),
    "date": pl.Series("value", ["2012-03-01", "2015-07-09"]).str.to_date(),
    "intervals": pl.Series("value", [1, 2]),
}


@pytest.mark.parametrize("spec", QUASI_IDENTIFIERS)
def test_every_level_of_a_hierarchy_has_a_name(spec: QuasiIdentifier) -> None:
    """A name too many or too few would call every level by its neighbour's name."""
    hierarchy = build_hierarchy(SAMPLES[spec.kind], spec)
    names = level_names(spec)
    assert len(names) == hierarchy.levels
    assert len(set(names)) == len(names)
    for name, labels in zip(names, hierarchy.labels, strict=True):
        assert (name == "*") == (labels.to_list() == ["*"])


@given(sizes=st.lists(st.integers(1, 2000), max_size=60), k=st.integers(2, 50))
def test_every_class_is_in_one_band(sizes: list[int], k: int) -> None:
    bands = dict(size_bands(pl.Series(sizes, dtype=pl.Int64), k))
    assert sum(bands.values()) == len(sizes)
    assert bands.get(f"below {k}", 0) == sum(size < k for size in sizes)


@given(
    bars=st.lists(
        st.tuples(
            st.text(st.sampled_from("aZ _<>&%#'\""), min_size=1, max_size=9), st.floats(-1, 2), st.sampled_from(["9 %"])
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_chart_shows_each_bar_by_its_label_and_length(bars: list[tuple[str, float, str]]) -> None:
    """Signs that end the address or the element would leave a broken image on the page."""
    address = re.search(r"\(<data:image/svg\+xml,([^<>]*)>\)$", bar_chart("Title", bars))
    assert address is not None
    drawing = ElementTree.fromstring(unquote(address[1]))
    texts = [element.text for element in drawing.iter(f"{SVG}tspan")]
    assert texts == [f"{label}: {figure}" for label, _, figure in bars]
    lengths = re.findall(r"h(\d+)", list(drawing.iter(f"{SVG}path"))[1].attrib["d"])
    assert [int(length) for length in lengths] == [round(BAR_WIDTH * min(max(length, 0), 1)) for _, length, _ in bars]


@given(size=st.integers(1, 9), data=st.data())
def test_a_heat_map_shows_one_matrix_below_the_letters_and_one_above(size: int, data: st.DataObject) -> None:
    """Before and after changed places would show a loss as a gain."""
    figures = st.lists(st.lists(st.floats(0, 1), min_size=size, max_size=size), min_size=size, max_size=size)
    below, above = data.draw(figures), data.draw(figures)
    letters = "ABCDEFGHI"[:size]
    address = re.search(r"\(<data:image/svg\+xml,([^<>]*)>\)$", heat_map("Title", letters, below, above))
    assert address is not None
    drawing = ElementTree.fromstring(unquote(address[1]))
    (text,) = drawing.iter(f"{SVG}text")
    assert text.text == letters
    drawn: dict[tuple[int, int], float] = {}
    for path in drawing.iter(f"{SVG}path"):
        for column, row, length in re.findall(r"M(\d+) (\d+)h(\d+)", path.attrib["d"]):
            for beside in range(int(length) + 1):
                drawn[int(row), int(column) + beside] = float(path.attrib["opacity"])
    for row in range(size):
        for column in range(size):
            figure = 0.0 if row == column else (above if column > row else below)[row][column]
            shade = sum(figure >= shade for shade in SHADES) / len(SHADES)
            assert drawn.get((row, column), 0.0) == pytest.approx(shade)


# ── through Dagster ──────────────────────────────────────────────────────────────────────


def test_the_page_is_attached_to_the_asset_as_markdown(lakehouse: Lakehouse) -> None:
    key = dg.AssetKey(["protected", "government", "child_summary"])
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            build_protected_assets(),
            selection=dg.AssetSelection.assets(key),
            resources={"lakehouse": lakehouse},
            partition_key=RELEASE,
            instance=instance,
        )
    (materialization,) = done.asset_materializations_for_node("protected__government__child_summary")
    contract = registry.protected_dataset("government", "child_summary")
    facts = release_dataset(lakehouse, contract, GOVERNMENT, RELEASE)
    expected = privacy_page(contract, GOVERNMENT, facts, read_release(lakehouse, contract, RELEASE, "test"))
    for name, text in expected.items():
        assert materialization.metadata[name] == dg.MetadataValue.md(text)
    assert materialization.metadata[UTILITY_REPORT] == dg.MetadataValue.json(json.loads(str(facts[UTILITY_REPORT])))
    assert str(facts["policy"]).startswith(str(materialization.metadata["policy_digest"].value))
