-- Who helps, at what, and where help is needed: one row per region, topic and category. Each topic has its
-- own grain and its own measures; nothing is summed over the categories of a topic.
with skills as (
    select
        release,
        province_code,
        skill,
        count(distinct volunteer_pseudonym) as volunteers,
        count(distinct volunteer_pseudonym) filter (where is_satisfaction_known) as asked,
        count(distinct volunteer_pseudonym) filter (where is_satisfied) as satisfied,
        {{ every_origin() }} as data_origin
    from {{ ref('stg_volunteers') }}
    group by release, province_code, skill
),

topics as (
    select
        release,
        province_code as region_code,
        'skill' as topic,
        skill as category,
        {{ at_least_minimum('volunteers', 'volunteers') }} as volunteers,
        null as worked_hours,
        {{ share_of_people('satisfied', 'asked') }} as satisfied_share,
        null as orphanages,
        null as quantity,
        null as needed_quantity,
        null as child_count_estimate,
        null as child_count_interval_low,
        null as child_count_interval_high,
        null as child_count_relative_error,
        {{ is_below_minimum('volunteers') }} as is_withheld,
        data_origin
    from skills
    union all
    select
        release, province_code, 'activity', activity_type,
        volunteers, worked_hours, null, null, null, null, null, null, null, null, is_withheld,
        data_origin
    from {{ source('protected', 'community__activity_summary') }}
    union all
    select
        release, regency_code, 'supply', category,
        null, null, null, orphanages, quantity, needed_quantity, null, null, null, null, false, data_origin
    from {{ source('protected', 'community__orphanage_need') }}
    union all
    select
        release, regency_code, 'children', 'in_care',
        null, null, null, null, null, null,
        {{ not_negative('child_count_estimate') }}, interval_low, interval_high, expected_relative_error, is_withheld,
        data_origin
    from {{ ref('fct_child_estimate_community') }}
    where province_code <> '*'
)

select
    topics.release,
    topics.region_code,
    region.region_name,
    region.province_name,
    topics.topic,
    topics.category,
    topics.volunteers,
    topics.worked_hours,
    topics.satisfied_share,
    topics.orphanages,
    topics.quantity,
    topics.needed_quantity,
    {{ share('topics.quantity', 'topics.needed_quantity') }} as need_coverage,
    topics.child_count_estimate,
    topics.child_count_interval_low,
    topics.child_count_interval_high,
    topics.child_count_relative_error,
    topics.is_withheld,
    topics.data_origin
from topics
left join {{ ref('dim_region') }} as region
    on region.release = topics.release and region.region_code = topics.region_code
