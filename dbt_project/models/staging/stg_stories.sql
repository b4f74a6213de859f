select
    release,
    campaign_id,
    channel,
    data_origin,
    approval_state in ('approved', 'published') as is_approved,
    stories
from {{ source('protected', 'media__story_approval') }}
