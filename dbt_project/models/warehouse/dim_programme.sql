-- One row per programme; the yearly rows repeat its attributes, and the latest year counts.
select
    release,
    programme_id,
    arg_max(programme_name, fiscal_year) as programme_name,
    arg_max(company, fiscal_year) as company,
    arg_max(objective, fiscal_year) as objective,
    {{ every_origin() }} as data_origin
from {{ source('protected', 'business__programme_finance') }}
group by release, programme_id
