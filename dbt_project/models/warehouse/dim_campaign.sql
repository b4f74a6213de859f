-- Campaigns that anybody saw or gave to. The goal is known to the giving side alone.
with campaigns as (
    select release, campaign_id, campaign_name, null as goal_amount, data_origin
    from {{ source('protected', 'media__campaign_reach') }}
    union all
    select release, campaign_id, campaign_name, goal_amount, data_origin
    from {{ source('protected', 'media__campaign_giving') }}
)

select
    release,
    campaign_id,
    max(campaign_name) as campaign_name,
    max(goal_amount) as goal_amount,
    {{ every_origin() }} as data_origin
from campaigns
group by release, campaign_id
