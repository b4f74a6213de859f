"""The classes in dbt's YAML: written by a program into a text that is somebody's own."""

from __future__ import annotations

import pytest
import yaml

from merajut_assets.marts.dbt_labels import LabelsError, with_labels

LABELS = {"dim_region": {"region_code": "public", "sex": "quasi_identifier"}}
MODELS = """version: 2
# Of the data team.
models:
  - name: dim_region
    config:
      meta: {owner: "team:care"}
    columns:
      - name: region_code
        data_type: varchar
      - name: sex
        data_type: varchar
        config: {meta: {privacy: public}}
        description: "Sex."
  - name: stg_region
    columns:
      - name: sex
        config: {meta: {privacy: public}}
"""


def classes(text: str) -> dict[str, dict[str, str | None]]:
    return {
        model["name"]: {
            column["name"]: column.get("config", {}).get("meta", {}).get("privacy") for column in model["columns"]
        }
        for model in yaml.safe_load(text)["models"]
    }


def test_every_column_gets_its_class_and_nothing_else_changes() -> None:
    """A class that somebody typed is replaced; of a model that is no table nothing is known, and nothing is said."""
    written = with_labels(MODELS, LABELS, "care.yml")
    assert classes(written) == {**LABELS, "stg_region": {"sex": "public"}}
    assert "# Of the data team." in written
    kept = [line for line in MODELS.splitlines() if "privacy" not in line]
    assert [line for line in written.splitlines() if "privacy" not in line] == kept
    assert with_labels(written, LABELS, "care.yml") == written


@pytest.mark.parametrize(
    "column",
    ["      - {name: sex, data_type: varchar}", "      - name: sex\n        config:\n          meta: {unit: none}"],
    ids=["flow style", "other meta"],
)
def test_a_text_that_cannot_be_labelled_is_refused(column: str) -> None:
    """Written all the same, a column would lose what its author said of it, or stay without a class."""
    text = f"models:\n  - name: dim_region\n    columns:\n{column}\n"
    with pytest.raises(LabelsError, match=r"care\.yml: .* block style"):
        with_labels(text, LABELS, "care.yml")
