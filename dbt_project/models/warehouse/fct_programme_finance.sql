-- Money of each programme by year.
select
    release,
    programme_id,
    fiscal_year,
    orphanages,
    budget_amount,
    ordered_amount,
    ordered_from_diverse_vendors,
    invoiced_amount,
    paid_amount,
    data_origin
from {{ source('protected', 'business__programme_finance') }}
