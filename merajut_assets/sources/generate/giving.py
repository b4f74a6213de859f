"""Donations: donors, campaigns, gifts, payments, allocations, in the product's own column names."""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.contracts.donations import DONOR_TYPES
from merajut_assets.sources.generate import people
from merajut_assets.sources.generate.columns import (
    Floats,
    Integers,
    between,
    dates,
    draw,
    flags,
    joined,
    keys,
    moments,
    numbered,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import Shared, draw_regions

DONORS_PER_CHILD = 0.25
GIFTS_PER_CHILD = 1.5
STORY_AMOUNT_FACTOR = 1.25
_LOG_AMOUNTS = (12.2, 12.7, 16.2, 16.6)
_STAGES = ("pledged", "received", "cancelled")
_PURPOSES = ("food", "education", "health", "building", "general")
_TOPICS = ("Sekolah untuk Semua", "Ramadan Berbagi", "Gizi Anak", "Rumah Hangat", "Buku dan Seragam", "Sehat Bersama")

EFFECTS: tuple[dict[str, str | float], ...] = (
    {
        "name": "stories_raise_gifts",
        "outcome": "donations.gifts.amount",
        "exposure": "a campaign with published media.stories",
        "measure": "factor",
        "size": STORY_AMOUNT_FACTOR,
    },
)


def campaigns_table(shared: Shared) -> pl.DataFrame:
    """Rows of donations.campaigns."""
    generator = shared.parameters.stream("donations.campaigns")
    campaigns = shared.campaigns
    count = len(campaigns)
    topic = pick(_TOPICS, generator.integers(0, len(_TOPICS), count))
    has_ended = campaigns.end <= shared.parameters.last_day
    year = pl.Series(campaigns.start.astype(np.int32)).cast(pl.Date).dt.year().cast(pl.String)
    return table(
        campaign_id=campaigns.key,
        name=joined(topic, " ", year, numbered(" #", np.arange(1, count + 1), 1)),
        start_date=dates(campaigns.start),
        end_date=dates(campaigns.end),
        goal_amount=pl.Series(np.round(generator.lognormal(18.5, 0.7, count), -6)),
        modified_at=moments(generator, np.minimum(campaigns.start + 1, shared.parameters.last_day)),
        IsActive=pl.Series(~has_ended),
    )


def make_donors(shared: Shared, block: Block) -> tuple[pl.DataFrame, Integers]:
    """Rows of donations.donors and the type of each (rows of DONOR_TYPES)."""
    generator = block.stream("donations.donors")
    count = max(20, round(block.children * DONORS_PER_CHILD))
    kind = draw(generator, (0.74, 0.14, 0.09, 0.03), count)
    is_female = flags(generator, 0.54, count)
    first = people.first_names(generator, is_female)
    last = people.last_names(generator, count)
    is_person = kind < 2
    decided = block.last_day - between(generator, 30, 1500, count)
    birth_year = block.parameters.until.year - between(generator, 19, 78, count)
    frame = table(
        donor_id=keys("003", block.first_number, count, 15),
        first_name=first,
        last_name=last,
        email=only(
            people.mail_addresses(generator, joined(first, " ", last), np.arange(count) + block.first_number),
            flags(generator, 0.93, count),
        ),
        phone=only(people.phones(generator, count), flags(generator, 0.8, count)),
        birth_year=only(pl.Series(birth_year), is_person & flags(generator, 0.75, count)),
        regency_code=only(
            pick(shared.places.regency_code, draw_regions(generator, shared.places, count)),
            flags(generator, 0.97, count),
        ),
        donor_type=pick(DONOR_TYPES, kind),
        has_analytics_consent=pl.Series(flags(generator, 0.78, count)),
        consent_decided_on=dates(decided),
        modified_at=moments(generator, np.minimum(decided + between(generator, 0, 25, count), block.last_day)),
        Salutation=pick(("Ibu", "Bapak"), (~is_female).astype(np.int64)),
        LeadSource=pick(("Web", "Event", "Referral", "Masjid"), generator.integers(0, 4, count)),
    )
    return frame, kind


def make_gifts(shared: Shared, block: Block, donors: pl.DataFrame, kind: Integers) -> dict[str, pl.DataFrame]:
    """Rows of donations.gifts, payments and allocations; a received gift is paid and allocated in full."""
    generator = block.stream("donations.gifts")
    count = max(60, round(block.children * GIFTS_PER_CHILD))
    donor = np.floor(len(donors) * generator.random(count) ** 1.6).astype(np.int64)
    campaigns = shared.campaigns
    in_campaign = flags(generator, 0.6, count)
    campaign = generator.integers(0, len(campaigns), count)
    day = np.where(
        in_campaign,
        between(generator, campaigns.start[campaign], np.minimum(campaigns.end[campaign], block.last_day), count),
        between(generator, block.first_day, block.last_day, count),
    )
    factor = np.where(in_campaign & campaigns.has_stories[campaign], STORY_AMOUNT_FACTOR, 1.0)
    amount = np.exp(np.array(_LOG_AMOUNTS)[kind[donor]] + generator.normal(0.0, 0.7, count)) * factor
    amount = np.maximum(np.round(amount, -3), 10_000.0)
    stage = draw(generator, (0.06, 0.91, 0.03), count)
    orphanage = draw(generator, shared.orphanages.weight.tolist(), count)
    key = keys("006", block.first_number, count, 15)
    gifts = table(
        gift_id=key,
        donor_id=pick(donors["donor_id"], donor),
        campaign_id=only(pick(campaigns.key, campaign), in_campaign),
        orphanage_id=only(pick(shared.orphanages.key, orphanage), flags(generator, 0.7, count)),
        amount=pl.Series(amount),
        close_date=dates(day),
        stage=pick(_STAGES, stage),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 10, count), block.last_day)),
        Probability=pick(("50", "100", "0"), stage),
        ForecastCategory=pick(("Pipeline", "Closed", "Omitted"), stage),
    )
    return {
        "gifts": gifts,
        "payments": _payments(block, key, amount, day, stage),
        "allocations": _allocations(block, key, amount, day, stage),
    }


def _payments(block: Block, gift: pl.Series, amount: Floats, day: Integers, stage: Integers) -> pl.DataFrame:
    generator = block.stream("donations.payments")
    of = np.flatnonzero(stage != _STAGES.index("cancelled"))
    is_paid = stage[of] == _STAGES.index("received")
    paid_on = np.minimum(day[of] + between(generator, 0, 6, len(of)), block.last_day)
    return table(
        payment_id=keys("a01", block.first_number, len(of), 15),
        gift_id=pick(gift, of),
        amount=pl.Series(amount[of]),
        is_paid=pl.Series(is_paid),
        modified_at=moments(generator, paid_on),
        npe01__Payment_Date__c=dates(paid_on, is_paid),
    )


def _allocations(block: Block, gift: pl.Series, amount: Floats, day: Integers, stage: Integers) -> pl.DataFrame:
    generator = block.stream("donations.allocations")
    received = np.flatnonzero(stage == _STAGES.index("received"))
    is_split = flags(generator, 0.2, len(received)) & (amount[received] >= 100_000.0)
    half = np.round(amount[received] / 2.0, -3)
    of = np.concatenate([received, received[is_split]])
    part = np.concatenate([np.where(is_split, half, amount[received]), (amount[received] - half)[is_split]])
    order = np.argsort(of, kind="stable")
    of, part = of[order], part[order]
    return table(
        allocation_id=keys("a02", block.first_number, len(of), 15),
        gift_id=pick(gift, of),
        purpose=pick(_PURPOSES, draw(generator, (0.3, 0.28, 0.16, 0.1, 0.16), len(of))),
        amount=pl.Series(part),
        modified_at=moments(generator, np.minimum(day[of] + between(generator, 0, 10, len(of)), block.last_day)),
    )
