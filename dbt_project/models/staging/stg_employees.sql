select
    release,
    employee_pseudonym,
    company,
    data_origin,
    volunteer_hours not in ('none', '*') as is_volunteer
from {{ source('protected', 'business__employee_engagement') }}
