"""Communication: stories with their approvals, and how campaigns were received. JSON lines."""

from __future__ import annotations

from datetime import date, datetime

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    Subject,
    System,
    free_text,
    operational,
    public,
    table,
)

MEDIA = System(
    name="media",
    description="Content management and campaign analytics, JSON lines export",
    owner="team:communication",
    format=SourceFormat.JSON_LINES,
    location="sources/media/{source}.jsonl",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.GENERATED,
    purpose="Awareness campaigns",
    retention_days=3 * 365,
    freshness_hours=24,
)

AGE_BANDS = ["13-17", "18-24", "25-34", "35-44", "45-54", "55+"]
CHANNELS = ["instagram", "youtube", "tiktok", "facebook", "press", "radio"]


@table(
    MEDIA,
    "stories",
    subjects=(Subject.CHILD,),
    modified_column="modified_at",
    legal_basis=LegalBasis.CONSENT,
    drops=("editor_name",),
)
class Stories(pa.DataFrameModel):
    """Stories about a child or an institution; the text may name a child and never leaves raw."""

    story_id: str = operational("Story number", key=True)
    child_id: str = operational(
        "Child told about, when there is one", subject=Subject.CHILD, references="panti.children.child_id"
    )
    campaign_id: str = operational("Campaign", references="donations.campaigns.campaign_id")
    channel: str = public("Channel", required=True, isin=CHANNELS)
    approval_state: str = operational(
        "State of the editorial approval",
        required=True,
        isin=["draft", "in_review", "approved", "rejected", "published"],
    )
    published_on: date = operational("Day of publication", required_when="approval_state = 'published'")
    body: str = free_text("Text")
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(MEDIA, "interactions", modified_column="modified_at")
class Interactions(pa.DataFrameModel):
    """Daily counts of interactions with a campaign, by channel and age band; never single people."""

    interaction_id: str = operational("Record number", key=True)
    campaign_id: str = operational(
        "Campaign", required=True, nullable=False, references="donations.campaigns.campaign_id"
    )
    day: date = operational("Day", required=True, nullable=False)
    channel: str = public("Channel", required=True, nullable=False, isin=CHANNELS)
    age_band: str = public("Age band of the audience, years", required=True, nullable=False, isin=AGE_BANDS)
    impressions: int = public("Times shown", required=True, ge=0)
    engagements: int = public("Times reacted to", required=True, ge=0)
    clicks: int = public("Times followed", required=True, ge=0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)
