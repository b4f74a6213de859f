select
    release,
    {{ province_of('province_code') }} as province_code,
    incident_type,
    data_origin,
    incidents,
    is_withheld
from {{ source('protected', 'government__incident_summary') }}
