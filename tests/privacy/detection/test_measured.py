"""Recall and precision: what is claimed is what is measured, and stays above what was measured once."""

from __future__ import annotations

import pytest

from tests.privacy.detection import measured


@pytest.fixture(scope="module")
def kinds() -> list[measured.Measured]:
    return measured.by_kind()


# Of values by themselves: a KK is built like a NIK, ten digits are any account.
VALUE_PRECISION = {"nik": 0.45, "kk": 0.6, "phone": 0.7, "bank_account": 0.05, "postal_code": 0.85, "npwp": 0.9}
# Their structure is shared by so many other numbers that only the name of a column tells.
ONLY_BY_NAME = {"passport", "bank_account"}


@pytest.mark.slow
def test_recall_and_precision_in_columns(kinds, record_property):
    """By kind, against the identity lists and everything that looks alike."""
    for one in kinds:
        record_property(one.kind, str(one))
        assert one.value_recall >= 0.98, one
        assert one.value_precision >= VALUE_PRECISION.get(one.kind, 0.98), one
        assert one.named_recall == 1.0, one
        assert one.column_precision == 1.0, one
        assert (one.unnamed_recall == 0.0) if one.kind in ONLY_BY_NAME else (one.unnamed_recall >= 0.95), one


@pytest.mark.slow
def test_recall_and_precision_in_planted_texts_and_the_page_that_shows_them(kinds, record_property, tmp_path):
    """Against the generator's truth, over all notes and names; the page is what its command writes."""
    in_texts = measured.in_planted(*measured.world_of_truth(tmp_path))
    for kind, column, recall, precision in in_texts:
        record_property(f"{column} {kind}", f"recall {recall:.3f}, precision {precision:.3f}")
        assert recall >= 0.98, (kind, column)
        assert precision >= 0.95, (kind, column)
    page = measured.render(kinds, measured.beside(), in_texts)
    assert measured.PAGE.read_text(encoding="utf-8") == page, "python -m tests.privacy.detection.measured"


def test_names_that_no_list_has_and_numbers_that_mean_nothing(record_property):
    """The limits: most names of other lists are not recognised one by one, and one random number in forty is a NIK."""
    beside = measured.beside()
    record_property("beside", str(beside))
    assert beside.other_names >= 0.35
    assert beside.random_numbers <= 0.035
