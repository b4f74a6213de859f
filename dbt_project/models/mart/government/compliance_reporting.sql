-- Duties of institutions by jurisdiction and province. No row sums up others: a total beside a withheld
-- count would give the withheld count away.
with children as (
    select
        release,
        jurisdiction,
        province_code,
        count(distinct child_pseudonym) as children,
        count(distinct child_pseudonym) filter (where is_review_due) as children_with_review_due,
        count(distinct child_pseudonym) filter (where is_reviewed_on_time) as children_reviewed_on_time
    from {{ ref('stg_children_supervised') }}
    group by release, jurisdiction, province_code
),

orphanages as (
    select
        release,
        'ID' as jurisdiction,
        province_code,
        count(*) as orphanages,
        sum(capacity) as capacity,
        sum(capacity) filter (where is_licence_valid) as licensed_capacity,
        count(*) filter (where is_licence_valid) as licences_valid,
        count(*) filter (where accreditation in ('A', 'B', 'C')) as accredited
    from {{ ref('fct_orphanage') }}
    group by release, province_code
),

incidents as (
    select
        release,
        'ID' as jurisdiction,
        province_code,
        sum(incidents) filter (where not is_withheld) as incidents,
        count(*) filter (where is_withheld) as incident_kinds_withheld
    from {{ ref('stg_incidents') }}
    group by release, province_code
),

-- The noise of disjoint cells is independent, so the half-widths of their intervals add up as squares.
-- Summed over the districts that are shown, because their budget allows figures of use: those with next to no children
-- are withheld, and nearly every province has one.
estimates as (
    select
        release,
        'ID' as jurisdiction,
        province_code,
        {{ not_negative('sum(child_count_estimate) filter (where not is_withheld)') }} as child_count_estimate,
        sqrt(sum(power({{ not_negative('interval_high - child_count_estimate') }}, 2)) filter (where not is_withheld))
            as half_width,
        count(*) filter (where is_withheld) as districts_withheld
    from {{ ref('fct_child_estimate_government') }}
    where statistic = 'child_count_by_regency'
    group by release, province_code
),

origins as (
    select release, jurisdiction, {{ every_origin() }} as data_origin
    from (
        select release, jurisdiction, data_origin from {{ ref('stg_children_supervised') }}
        union all
        select release, 'ID', data_origin from {{ ref('fct_orphanage') }}
        union all
        select release, 'ID', data_origin from {{ source('protected', 'government__staff_summary') }}
        union all
        select release, 'ID', data_origin from {{ ref('stg_incidents') }}
        union all
        select release, 'ID', data_origin from {{ ref('fct_child_estimate_government') }}
    )
    group by release, jurisdiction
),

areas as (
    select release, 'ID' as jurisdiction, province_code from {{ ref('dim_region') }} where level in ('province', 'unknown')
    union
    select release, jurisdiction, province_code from children
)

select
    areas.release,
    areas.jurisdiction,
    areas.province_code,
    region.region_name as province_name,
    coalesce(orphanages.orphanages, 0) as orphanages,
    coalesce(orphanages.capacity, 0)::bigint as capacity,
    coalesce(orphanages.licensed_capacity, 0)::bigint as licensed_capacity,
    coalesce(orphanages.licences_valid, 0) as licences_valid,
    {{ share('orphanages.licences_valid', 'orphanages.orphanages') }} as licence_valid_share,
    {{ share('orphanages.accredited', 'orphanages.orphanages') }} as accredited_share,
    staff.staff,
    round(staff.background_check_share, 4) as background_check_share,
    {{ at_least_minimum('children.children', 'children.children') }} as children,
    {{ is_below_minimum('children.children') }} as is_withheld,
    {{ share_of_people('children.children_reviewed_on_time', 'children.children_with_review_due') }}
        as review_on_time_share,
    incidents.incidents::bigint as incidents,
    coalesce(incidents.incident_kinds_withheld, 0) as incident_kinds_withheld,
    estimates.child_count_estimate,
    round({{ not_negative('estimates.child_count_estimate - estimates.half_width') }}, 1) as child_count_interval_low,
    round(estimates.child_count_estimate + estimates.half_width, 1) as child_count_interval_high,
    round(estimates.half_width / greatest(estimates.child_count_estimate, 1), 4) as child_count_relative_error,
    estimates.districts_withheld,
    origins.data_origin
from areas
left join {{ ref('dim_region') }} as region
    on region.release = areas.release and region.region_code = areas.province_code
left join orphanages
    on orphanages.release = areas.release
    and orphanages.jurisdiction = areas.jurisdiction
    and orphanages.province_code = areas.province_code
left join {{ source('protected', 'government__staff_summary') }} as staff
    on staff.release = areas.release
    and areas.jurisdiction = 'ID'
    and staff.province_code = areas.province_code
left join children
    on children.release = areas.release
    and children.jurisdiction = areas.jurisdiction
    and children.province_code = areas.province_code
left join incidents
    on incidents.release = areas.release
    and incidents.jurisdiction = areas.jurisdiction
    and incidents.province_code = areas.province_code
left join estimates
    on estimates.release = areas.release
    and estimates.jurisdiction = areas.jurisdiction
    and estimates.province_code = areas.province_code
inner join origins
    on origins.release = areas.release
    and origins.jurisdiction = areas.jurisdiction
