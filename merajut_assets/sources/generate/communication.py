"""Stories about children and how campaigns were received: system media."""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.contracts.media import AGE_BANDS, CHANNELS
from merajut_assets.sources.generate import dirt, people
from merajut_assets.sources.generate.columns import (
    Flags,
    between,
    dates,
    draw,
    flags,
    joined,
    keys,
    moments,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import Shared

STORIES_PER_CHILD = 0.02
YOUNG_TIKTOK_FACTOR = 1.8
_LEAST_STORIES = 40
_CHANNELS_PER_CAMPAIGN = 3
_STATES = ("draft", "in_review", "approved", "rejected", "published")

EFFECTS: tuple[dict[str, str | float], ...] = (
    {
        "name": "young_people_react_on_tiktok",
        "outcome": "media.interactions: engagements per impression",
        "exposure": "channel tiktok and age band 13-17 or 18-24",
        "measure": "factor",
        "size": YOUNG_TIKTOK_FACTOR,
    },
)


def stories_table(
    shared: Shared, block: Block, allowed: pl.DataFrame, others: pl.DataFrame
) -> tuple[pl.DataFrame, Flags]:
    """Rows of media.stories, and which of them tell about a child without consent to publicity.

    `allowed` and `others` hold child_id and full_name of children with and without that consent."""
    generator = block.stream("media.stories")
    count = max(_LEAST_STORIES, round(block.children * STORIES_PER_CHILD))
    way = draw(generator, (0.85 - dirt.STORIES_WITHOUT_CONSENT, dirt.STORIES_WITHOUT_CONSENT, 0.15), count)
    way = np.where((way == 0) & (len(allowed) == 0) | (way == 1) & (len(others) == 0), 2, way)
    pool = pl.concat([allowed, others])
    low = np.where(way == 1, len(allowed), 0)
    high = np.where(way == 1, len(pool), len(allowed)) - 1
    child = np.minimum(between(generator, low, np.maximum(high, low), count), len(pool) - 1)
    has_child = way < 2
    eligible = np.flatnonzero(shared.campaigns.has_stories)
    campaign = eligible[generator.integers(0, len(eligible), count)]
    state = draw(generator, (0.06, 0.08, 0.1, 0.06, 0.7), count)
    # Editors publish only what they believe to be allowed; the mistake is among the published.
    state = np.where(way == 1, _STATES.index("published"), state)
    day = np.minimum(shared.campaigns.start[campaign] + between(generator, 0, 28, count), block.last_day)
    is_published = state == _STATES.index("published")
    first_name = pick(pool["full_name"], child).str.split(" ").list.first().fill_null("Adik")
    text = joined(
        pick(_BEGINNINGS, generator.integers(0, len(_BEGINNINGS), count)),
        only(first_name, has_child).fill_null("Anak-anak kami"),
        pick(_ENDINGS, generator.integers(0, len(_ENDINGS), count)),
    )
    frame = table(
        story_id=keys("SY-", block.first_number, count),
        child_id=only(pick(pool["child_id"], child), has_child),
        campaign_id=pick(shared.campaigns.key, campaign),
        channel=pick(CHANNELS, draw(generator, (0.3, 0.14, 0.24, 0.16, 0.12, 0.04), count)),
        approval_state=pick(_STATES, state),
        published_on=dates(day, is_published),
        body=text,
        modified_at=moments(generator, day),
        editor_name=people.full_names(generator, flags(generator, 0.6, count)),
    )
    return frame, (way == 1)


_BEGINNINGS = ("Pagi itu ", "Di halaman panti, ", "Untuk pertama kali ", "Sejak dua tahun ", "Dengan buku barunya ")
_ENDINGS = (
    " bercerita tentang cita-citanya menjadi guru.",
    " menanam cabai bersama teman-teman.",
    " tampil di panggung sekolah.",
    " belajar membaca dengan kakak relawan.",
    " memeluk adiknya yang baru datang.",
)


def interactions_table(shared: Shared) -> pl.DataFrame:
    """Rows of media.interactions: daily counts for each campaign, channel and age band."""
    parameters = shared.parameters
    generator = parameters.stream("media.interactions")
    campaigns = shared.campaigns
    chosen = np.argsort(generator.random((len(campaigns), len(CHANNELS))), axis=1)[:, :_CHANNELS_PER_CAMPAIGN]
    chosen[0, 0] = CHANNELS.index("tiktok") if CHANNELS.index("tiktok") not in chosen[0] else chosen[0, 0]
    length = np.minimum(campaigns.end, parameters.last_day) - campaigns.start + 1
    per_day = _CHANNELS_PER_CAMPAIGN * len(AGE_BANDS)
    campaign = np.repeat(np.arange(len(campaigns)), length * per_day)
    position = np.arange(len(campaign)) - np.repeat(np.cumsum(length * per_day) - length * per_day, length * per_day)
    day = campaigns.start[campaign] + position // per_day
    channel = chosen[campaign, position % per_day // len(AGE_BANDS)]
    band = position % len(AGE_BANDS)
    count = len(campaign)
    reach = generator.lognormal(6.3, 0.5, len(campaigns))[campaign]
    impressions = generator.poisson(reach * np.array([0.7, 1.3, 1.2, 0.8, 0.5, 0.4])[band])
    is_young_tiktok = (channel == CHANNELS.index("tiktok")) & (band <= 1)
    rate = np.where(campaigns.has_stories[campaign], 0.055, 0.04) * np.where(is_young_tiktok, YOUNG_TIKTOK_FACTOR, 1.0)
    engagements = generator.binomial(impressions, rate)
    return table(
        interaction_id=keys("IX-", 1, count, 9),
        campaign_id=pick(campaigns.key, campaign),
        day=dates(day),
        channel=pick(CHANNELS, channel),
        age_band=pick(AGE_BANDS, band),
        impressions=pl.Series(impressions),
        engagements=pl.Series(engagements),
        clicks=pl.Series(generator.binomial(engagements, 0.22)),
        modified_at=moments(generator, np.minimum(day + 1, parameters.last_day)),
    )
