select
    release,
    campaign_id,
    channel,
    approval_state in ('approved', 'published') as is_approved,
    stories
from {{ source('protected', 'media__story_approval') }}
