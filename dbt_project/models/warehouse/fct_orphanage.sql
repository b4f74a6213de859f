-- One row per institution, judged on the release's cut-off date.
select
    release,
    orphanage_id,
    regency_code,
    {{ province_of('regency_code') }} as province_code,
    capacity,
    accreditation,
    licence_valid_until,
    licence_valid_until >= {{ cut_off_date('release') }} as is_licence_valid,
    data_origin
from {{ source('protected', 'government__orphanage') }}
