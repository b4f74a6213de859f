-- How campaigns were received, by month, channel and age band of the audience.
select
    release,
    campaign_id,
    month,
    channel,
    age_band,
    impressions,
    engagements,
    clicks,
    data_origin
from {{ source('protected', 'media__campaign_reach') }}
