select
    release,
    volunteer_pseudonym,
    {{ province_of('region_code') }} as province_code,
    skill,
    data_origin,
    satisfaction <> 'unknown' as is_satisfaction_known,
    satisfaction = 'high' as is_satisfied
from {{ source('protected', 'community__volunteer_engagement') }}
