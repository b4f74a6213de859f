-- What programmes cost and reach, by fiscal year. Participation counts one thing per company, so that no
-- difference of two shown figures is a small group.
with participation as (
    select
        release,
        company,
        count(distinct employee_pseudonym) as volunteering_employees
    from {{ ref('stg_employees') }}
    where company <> '*' and is_volunteer
    group by release, company
),

origins as (
    select release, {{ every_origin() }} as data_origin
    from (
        select release, data_origin from {{ ref('stg_employees') }}
        union all
        select release, data_origin from {{ ref('fct_programme_finance') }}
        union all
        select release, data_origin from {{ ref('fct_programme_outcome') }}
    )
    group by release
)

select
    finance.release,
    finance.programme_id,
    finance.fiscal_year,
    programme.programme_name,
    programme.company,
    programme.objective,
    finance.orphanages,
    finance.budget_amount,
    finance.ordered_amount,
    finance.invoiced_amount,
    finance.paid_amount,
    {{ share('finance.paid_amount', 'finance.budget_amount') }} as budget_utilisation,
    {{ share('finance.ordered_from_diverse_vendors', 'finance.ordered_amount') }} as diverse_supplier_share,
    {{ share('finance.paid_amount', 'finance.orphanages', 0) }} as paid_amount_per_orphanage,
    outcome.average_score,
    outcome.average_score_interval_low,
    outcome.average_score_interval_high,
    outcome.attendance_rate,
    outcome.attendance_rate_interval_low,
    outcome.attendance_rate_interval_high,
    {{ at_least_minimum('participation.volunteering_employees', 'participation.volunteering_employees') }}
        as volunteering_employees,
    {{ is_below_minimum('participation.volunteering_employees') }} as is_participation_withheld,
    origins.data_origin
from {{ ref('fct_programme_finance') }} as finance
inner join {{ ref('dim_programme') }} as programme
    on programme.release = finance.release and programme.programme_id = finance.programme_id
left join {{ ref('fct_programme_outcome') }} as outcome
    on outcome.release = finance.release and outcome.programme_id = finance.programme_id
left join participation
    on participation.release = finance.release and participation.company = programme.company
inner join origins on origins.release = finance.release
