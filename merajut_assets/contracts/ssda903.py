"""The statutory return on looked-after children of an English local authority (SSDA903).

A real layout with randomly generated children, published for testing validators. Codes are
those of the return's guidance; conformed translates them.
"""

from __future__ import annotations

from datetime import date

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    Subject,
    System,
    in_order,
    operational,
    quasi_identifier,
    sensitive,
    table,
)

SSDA903 = System(
    name="ssda903",
    description="Statutory return on looked-after children (SSDA903) of a partner authority, CSV",
    owner="team:child-protection",
    format=SourceFormat.CSV,
    location="reference/ssda903/{source}.csv",
    jurisdiction="GB",
    legal_basis=LegalBasis.LEGAL_OBLIGATION,
    data_origin=DataOrigin.REAL_SAMPLE,
    purpose="Statutory reporting on children in public care",
    retention_days=7 * 365,
    freshness_hours=24 * 366,
    child_protection=True,
    licence="MIT",
)

DATE_FORMAT = "%d/%m/%Y"
CHILD_NUMBER = r"^[0-9A-Za-z/-]{1,10}$"
CATEGORIES_OF_NEED = [f"N{number}" for number in range(1, 9)]
PLACEMENTS = [
    *("A3", "A4", "A5", "A6", "H5", "K1", "K2", "P1", "P2", "P3", "R1", "R2", "R3", "R5", "S1"),
    *("T0", "T1", "T2", "T3", "T4", "U1", "U2", "U3", "U4", "U5", "U6", "Z1"),
]
PARTICIPATION = [f"PN{number}" for number in range(8)]


@table(SSDA903, "header", subjects=(Subject.CHILD,), drops=("ETHNIC", "UPN", "MOTHER", "MC_DOB"))
class Header(pa.DataFrameModel):
    """Children of the return, one row each."""

    child_id: str = operational(
        "Number that the authority gives the child",
        source_name="CHILD",
        key=True,
        subject=Subject.CHILD,
        str_matches=CHILD_NUMBER,
    )
    sex: str = quasi_identifier(
        "Sex: 1 male, 2 female", source_name="SEX", hierarchy="sex", required=True, nullable=False, isin=["1", "2"]
    )
    birth_date: date = quasi_identifier(
        "Date of birth",
        source_name="DOB",
        source_format=DATE_FORMAT,
        hierarchy="date",
        required=True,
        nullable=False,
        ge=date(1990, 1, 1),
    )


@table(
    SSDA903,
    "episodes",
    subjects=(Subject.CHILD,),
    drops=("RNE", "LS", "PLACE_PROVIDER", "REC", "REASON_PLACE_CHANGE", "HOME_POST", "PL_POST", "URN"),
)
class Episodes(pa.DataFrameModel):
    """Episodes of care: periods without a change of legal status or placement."""

    child_id: str = operational(
        "Child",
        source_name="CHILD",
        key=True,
        subject=Subject.CHILD,
        references="ssda903.header.child_id",
        str_matches=CHILD_NUMBER,
    )
    start_date: date = quasi_identifier(
        "First day", source_name="DECOM", source_format=DATE_FORMAT, hierarchy="date", key=True
    )
    need_code: str = sensitive(
        "Main reason why the child is looked after", source_name="CIN", required=True, isin=CATEGORIES_OF_NEED
    )
    placement_type: str = quasi_identifier(
        "Form of placement",
        source_name="PLACE",
        hierarchy="care_type",
        required=True,
        nullable=False,
        isin=PLACEMENTS,
    )
    end_date: date = quasi_identifier(
        "Day on which it ceased; empty while it lasts",
        source_name="DEC",
        source_format=DATE_FORMAT,
        hierarchy="date",
    )

    end_after_start = in_order("end_after_start", "start_date", "end_date")


@table(SSDA903, "reviews", subjects=(Subject.CHILD,), drops=("DOB",))
class Reviews(pa.DataFrameModel):
    """Reviews of the children's cases. A child has one review a day: a second one is a mistake."""

    child_id: str = operational(
        "Child reviewed",
        source_name="CHILD",
        key=True,
        subject=Subject.CHILD,
        references="ssda903.header.child_id",
        str_matches=CHILD_NUMBER,
    )
    review_date: date = operational(
        "Date of the review", source_name="REVIEW", source_format=DATE_FORMAT, key=True, ge=date(1990, 1, 1)
    )
    review_code: str = operational(
        "How the child took part; PN0: younger than four, PN7: not at all",
        source_name="REVIEW_CODE",
        required=True,
        isin=PARTICIPATION,
    )


@table(
    SSDA903,
    "oc2",
    subjects=(Subject.CHILD,),
    drops=(
        "DOB",
        "SDQ_SCORE",
        "SDQ_REASON",
        "CONVICTED",
        "HEALTH_CHECK",
        "TEETH_CHECK",
        "HEALTH_ASSESSMENT",
        "SUBSTANCE_MISUSE",
        "INTERVENTION_RECEIVED",
        "INTERVENTION_OFFERED",
    ),
)
class HealthOutcomes(pa.DataFrameModel):
    """Yearly health outcomes of children looked after for twelve months or longer."""

    child_id: str = operational(
        "Child",
        source_name="CHILD",
        key=True,
        subject=Subject.CHILD,
        references="ssda903.header.child_id",
        str_matches=CHILD_NUMBER,
    )
    is_immunisation_complete: bool = sensitive(
        "Whether the immunisations are up to date; 1 or 0 in the source", source_name="IMMUNISATIONS", required=True
    )
