"""The five dimensions of quality, each by an example that can be worked out by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from merajut_assets.conformed import conform, quality
from merajut_assets.conformed.assets import build_conformed_assets
from merajut_assets.conformed.quality_history import QUALITY_HISTORY
from merajut_assets.contracts import registry
from resources.lake import Lake

NOW = datetime(2026, 1, 2)
REGIONS = {"region.region_code": pl.Series(["32.73.01.1001"]), "orphanage.orphanage_id": pl.Series(["PA-1"])}


def children(*changes: dict[str, object]) -> pl.DataFrame:
    """Rows of conformed/child with every required cell filled, each with a change."""
    entity = registry.entity("child")
    good = {
        "source_system": "panti",
        "jurisdiction": "ID",
        "legal_basis": "consent",
        "data_origin": "generated",
        "modified_at": datetime(2026, 1, 1),
        "sex": "F",
        "birth_date": datetime(2012, 2, 5).date(),
        "village_code": "32.73.01.1001",
        "orphanage_id": "PA-1",
        "admission_date": datetime(2020, 1, 1).date(),
        "reason_for_care": "poverty",
        "abuse_type": "none",
        "registrations": 1,
    }
    rows = [{**good, "child_token": f"t{number}", **change} for number, change in enumerate(changes)]
    return pl.DataFrame(
        {column.name: [row.get(column.name) for row in rows] for column in entity.columns},
        schema={column.name: column.dtype for column in entity.columns},
    )


def measured(frame: pl.DataFrame, failed: pl.Series | None = None) -> quality.Quality:
    rules = passed(frame.height) if failed is None else failed
    return quality.measure(registry.entity("child"), frame, rules, REGIONS, NOW)


def passed(rows: int) -> pl.Series:
    return pl.Series("failed_rules", [None] * rows, dtype=pl.String)


def test_completeness_counts_required_cells_that_apply():
    """Ten required cells and five more of an Indonesian child, of which one is empty; British children
    have none of the five, so that their absence is no fault."""
    required = [column for column in registry.entity("child").columns if column.required and not column.required_when]
    conditional = [column for column in registry.entity("child").columns if column.required_when]
    assert len(conditional) == 5
    indonesian = len(required) + 5
    british = dict.fromkeys([column.name for column in conditional]) | {"jurisdiction": "GB"}
    found = measured(children({"abuse_type": None}, british)).completeness
    assert found == pytest.approx((indonesian - 1 + len(required)) / (indonesian + len(required)))


def test_accuracy_counts_what_agrees_of_what_can_be_compared():
    """Villages against the region list, numbers against birth date and sex; an empty cell is not wrong."""
    frame = children(
        {"is_nik_consistent": True},
        {"is_nik_consistent": False, "village_code": "32.73.01.9999"},
        {"village_code": None},
        {},
    )
    # Compared: three villages and two numbers; agreeing: two and one.
    assert measured(frame).accuracy == pytest.approx(3 / 5)


def test_accuracy_is_not_measured_where_nothing_can_be_compared():
    """One would look like perfection that nobody has checked."""
    assert measured(children({"village_code": None})).accuracy is None
    assert (
        quality.measure(
            registry.entity("review"),
            pl.DataFrame(schema={column.name: column.dtype for column in registry.entity("review").columns}),
            passed(0),
            {},
            NOW,
        ).accuracy
        is None
    )


def test_consistency_counts_rows_that_keep_every_rule():
    """A row that breaks two rules is one inconsistent row."""
    failed = pl.Series("failed_rules", [None, "a,b", None, "landing"], dtype=pl.String)
    assert measured(children({}, {}, {}, {}), failed).consistency == 0.5
    assert measured(children({})).consistency == 1.0
    assert measured(children()).consistency is None


def test_uniqueness_counts_keys():
    """A row without key is incomplete, not a duplicate."""
    frame = children({"child_token": "a"}, {"child_token": "a"}, {"child_token": "b"}, {"child_token": None})
    assert measured(frame).uniqueness == pytest.approx(2 / 3)


def test_timeliness_is_the_window_over_the_age():
    """Child data are to be at most a day old."""
    assert registry.entity("child").freshness_hours == 24
    assert measured(children({"modified_at": NOW - timedelta(hours=96)})).timeliness == pytest.approx(0.25)
    assert measured(children({"modified_at": NOW - timedelta(hours=6)})).timeliness == 1.0
    assert measured(children({"modified_at": NOW})).timeliness == 1.0
    assert measured(children()).timeliness is None


def test_the_score_is_the_mean_of_what_was_measured():
    """Timeliness is reported apart: an old export is not made of bad rows."""
    assert quality.Quality(10, 1.0, 0.9, 0.8, 0.7, 0.0).score == pytest.approx(0.85)
    assert quality.Quality(10, 1.0, None, 0.8, 0.6, None).score == pytest.approx(0.8)
    assert quality.Quality(0, None, None, None, None, None).score == 1.0


@pytest.mark.parametrize(
    ("entity", "dimension", "enough", "short"),
    [
        ("child", "completeness", 0.951, 0.949),
        ("child", "accuracy", 0.991, 0.989),
        ("child", "consistency", 0.991, 0.989),
        ("child", "uniqueness", 1.0, 0.9999),
        ("supply", "consistency", 0.991, 0.989),
        ("donation", "consistency", 0.951, 0.949),
        ("donor", "accuracy", 0.991, 0.989),
    ],
)
def test_each_aim_is_missed_just_below_it(entity, dimension, enough, short):
    """Child protection and cross-referenced data have the higher aims of the requirements."""
    perfect = {"rows": 10, "completeness": 1.0, "accuracy": 1.0, "consistency": 1.0, "uniqueness": 1.0}
    contract = registry.entity(entity)
    reached = quality.Quality(**perfect | {dimension: enough}, timeliness=0.0)
    missed = quality.Quality(**perfect | {dimension: short}, timeliness=0.0)
    assert quality.shortcomings(contract, reached) == []
    assert [text.split()[0] for text in quality.shortcomings(contract, missed)] == [dimension]


def test_a_low_score_is_a_shortcoming_of_its_own():
    """Three dimensions at their aim and one far below: the mean is what blocks."""
    found = quality.shortcomings(registry.entity("child"), quality.Quality(10, 0.7, 0.995, 0.995, 1.0, 1.0))
    assert [text.split()[0] for text in found] == ["score", "completeness"]


def test_what_was_not_measured_misses_no_aim():
    """ "Not measured" is said as such, and does not block."""
    assert quality.shortcomings(registry.entity("child"), quality.Quality(0, None, None, None, None, None)) == []


def test_bad_input_lowers_the_quality_before_and_not_after(small):
    """The build measures twice: all that came, and what passed."""
    small.put(
        "panti.children",
        *[{"child_id": f"CH-{number}"} for number in range(8)],
        {"child_id": "X", "sex": "P"},
        {"child_id": "Y", "orphanage_id": "PA-9"},
    )
    summary = small.build("child")
    assert summary.before["rows"] == 10
    assert summary.before["consistency"] == pytest.approx(0.8)
    assert summary.after["consistency"] == 1.0
    assert summary.after["completeness"] == 1.0
    assert summary.before["completeness"] < 1.0
    assert any(text.startswith("consistency") for text in summary.shortcomings_before)
    assert summary.shortcomings_after == []


def test_rows_of_several_files_are_judged_like_those_of_one():
    """Columns in several chunks met a mask in one, and a build of two sources ended in a panic."""
    whole = pl.concat([children({}, {"orphanage_id": "PA-9"}), children({}, {})], rechunk=False)
    assert whole.n_chunks() == 2
    keyed = whole.with_columns(pl.Series("child_token", [f"t{number}" for number in range(4)]))
    failed = conform.judge_stored(registry.entity("child"), keyed, REGIONS)
    assert failed.to_list() == [None, "orphanage_id.reference", None, None]


# ── what is stored is judged, and not what was meant to be ───────────────────────────────


def plant(small, entity: str, **change: object) -> None:
    """A row more in the stored table, as nobody's build has written it."""
    stored = small.read(entity)
    planted = stored.head(1).with_columns(
        pl.lit(value, dtype=stored.schema[name]).alias(name) for name, value in change.items()
    )
    small.lakehouse.lake.overwrite(f"conformed/{entity}", pl.concat([stored, planted]))


def materialise(small, entity: str) -> dg.AssetCheckEvaluation:
    done = dg.materialize(
        [part for part in build_conformed_assets() if dg.AssetKey(["conformed", entity]) in part.keys],
        resources={"lakehouse": small.lakehouse},
        raise_on_error=False,
    )
    (check,) = done.get_asset_check_evaluations()
    return check


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"child_token": "planted", "sex": "P"}, "consistency 90.00%"),
        ({"child_token": "planted", "orphanage_id": "PA-9"}, "consistency 90.00%"),
        ({}, "uniqueness 90.00%"),
    ],
    ids=["rule", "reference", "key"],
)
def test_a_row_planted_in_the_store_blocks(small, change, told):
    """The score after quarantine was that of the frame in memory, and its consistency a constant: whatever was stored
    passed, also when nothing had changed at the sources and nobody looked at all."""
    small.put("panti.children", *[{"child_id": f"CH-{number}"} for number in range(9)])
    small.build("child")
    assert materialise(small, "child").passed
    plant(small, "child", **change)
    for _ in range(2):  # the second time the judgement is remembered
        check = materialise(small, "child")
        assert not check.passed
        assert check.blocking
        assert check.severity is dg.AssetCheckSeverity.ERROR
        assert told in check.metadata["missed_after_quarantine"].value
    dimension = told.split()[0]
    history = small.lakehouse.lake.read(QUALITY_HISTORY).sort("built_at")
    after = history.filter(moment="after_quarantine", dimension=dimension)["value"].to_list()
    assert after[-1] == pytest.approx(0.9)


def test_what_is_judged_is_read_back(small, monkeypatch):
    """A write that went wrong is not seen in the frame that was to be written."""
    write = Lake.merge

    def lose(self: Lake, table: str, frame: pl.DataFrame, **options: object) -> object:
        spoilt = frame.with_columns(pl.lit("P").alias("sex")) if table == "conformed/child" else frame
        return write(self, table, spoilt, **options)

    monkeypatch.setattr(Lake, "merge", lose)
    small.put("panti.children", {})
    summary = small.build("child")
    assert summary.after["consistency"] == 0.0
    assert any(text.startswith("consistency") for text in summary.shortcomings_after)


def test_a_decision_that_outlives_whom_it_names_is_no_fault(small):
    """A withdrawal stays when its record and the child go from the source; it must not block the consents of others."""
    small.put("panti.children", {}, {"child_id": "CH-2"})
    small.put("panti.guardians", {})
    small.put("panti.consents", {}, {"consent_id": "CO-2", "child_id": "CH-2", "status": "withdrawn"})
    small.build("consent")
    small.put("panti.children", {})
    small.put("panti.consents", {})
    small.build("child")
    summary = small.build("consent")
    assert small.read("consent").filter(status="withdrawn").height
    assert summary.after["consistency"] == 1.0
    assert summary.shortcomings_after == []
