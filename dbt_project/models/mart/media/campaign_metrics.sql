-- How campaigns are received, by month, channel and age band of the audience. Giving and stories are known per
-- campaign, and per campaign and channel: they repeat on the finer rows and are not to be summed.
with stories as (
    select
        release,
        campaign_id,
        channel,
        sum(stories) filter (where is_approved)::bigint as approved_stories
    from {{ ref('stg_stories') }}
    group by release, campaign_id, channel
),

origins as (
    select release, {{ every_origin() }} as data_origin
    from (
        select release, data_origin from {{ ref('fct_campaign_reach') }}
        union all
        select release, data_origin from {{ source('protected', 'media__campaign_giving') }}
        union all
        select release, data_origin from {{ ref('stg_stories') }}
    )
    group by release
)

select
    reach.release,
    reach.campaign_id,
    reach.month,
    reach.channel,
    reach.age_band,
    campaign.campaign_name,
    campaign.goal_amount,
    reach.impressions,
    reach.engagements,
    reach.clicks,
    {{ share('reach.engagements', 'reach.impressions') }} as engagement_rate,
    {{ share('reach.clicks', 'reach.impressions') }} as click_rate,
    coalesce(stories.approved_stories, 0) as campaign_channel_approved_stories,
    giving.donors as campaign_donors,
    giving.gifts as campaign_gifts,
    giving.amount as campaign_amount,
    coalesce(giving.is_withheld, true) as is_giving_withheld,
    origins.data_origin
from {{ ref('fct_campaign_reach') }} as reach
inner join {{ ref('dim_campaign') }} as campaign
    on campaign.release = reach.release and campaign.campaign_id = reach.campaign_id
left join {{ source('protected', 'media__campaign_giving') }} as giving
    on giving.release = reach.release and giving.campaign_id = reach.campaign_id
left join stories
    on stories.release = reach.release
    and stories.campaign_id = reach.campaign_id
    and stories.channel = reach.channel
inner join origins on origins.release = reach.release
