-- Every differentially private count of children, one row per cell, whoever it was released to.
-- Marts take only those of their own stakeholder: two releases of one count must not be averaged.
{%- set statistics = [
    ('academia', 'child_count_by_province', ['province_code', 'age_band', 'sex']),
    ('community', 'child_count_by_regency', ['regency_code']),
    ('government', 'child_count_by_province', ['province_code', 'age_band', 'sex']),
    ('government', 'child_count_by_regency', ['regency_code']),
    ('media', 'child_count_by_province', ['province_code']),
] %}
{%- for stakeholder, statistic, keys in statistics %}
select
    release,
    '{{ stakeholder }}' as stakeholder,
    '{{ statistic }}' as statistic,
    {{ province_of('province_code' if 'province_code' in keys else 'regency_code') }} as province_code,
    {{ 'regency_code' if 'regency_code' in keys else "'*'" }} as regency_code,
    {{ 'age_band' if 'age_band' in keys else "'*'" }} as age_band,
    {{ 'sex' if 'sex' in keys else "'*'" }} as sex,
    value as child_count_estimate,
    noise_scale,
    interval_low,
    interval_high,
    expected_relative_error,
    epsilon,
    is_withheld
from {{ source('statistics', stakeholder ~ '__' ~ statistic) }}
where measure = 'child_count'
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
