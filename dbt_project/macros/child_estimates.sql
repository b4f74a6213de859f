{#
  The differentially private counts of children that were released to one stakeholder, one row per cell.
  `statistics` maps the name of a statistic to the keys by which it counts. One model per stakeholder calls this: two
  releases of one count must not meet in a table, where they could be averaged.
#}
{% macro child_estimates(stakeholder, statistics) -%}
{%- for statistic, keys in statistics.items() %}
select
    release,
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
    is_withheld,
    data_origin
from {{ source('statistics', stakeholder ~ '__' ~ statistic) }}
where measure = 'child_count'
{%- if not loop.last %}
union all
{%- endif %}
{%- endfor %}
{%- endmacro %}
