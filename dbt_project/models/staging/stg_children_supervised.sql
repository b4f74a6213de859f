select
    release,
    child_pseudonym,
    jurisdiction,
    data_origin,
    {{ province_of('region_code') }} as province_code,
    reviews_on_time <> 'no_review' as is_review_due,
    reviews_on_time in ('most', 'all') as is_reviewed_on_time
from {{ source('protected', 'government__child_summary') }}
