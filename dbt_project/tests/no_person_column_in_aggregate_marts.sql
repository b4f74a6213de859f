-- Marts about groups carry no column that stands for a person, neither a pseudonym nor a token. Row-level
-- data leave in research_dataset alone.
{%- set aggregate_marts = [
    ref('compliance_reporting'), ref('csr_impact'), ref('volunteer_metrics'), ref('campaign_metrics')
] %}
select column_name
from information_schema.columns
where
    table_catalog = '{{ aggregate_marts[0].database }}'
    and table_name in ({% for mart in aggregate_marts %}'{{ mart.identifier }}'{{ ', ' if not loop.last }}{% endfor %})
    and (column_name like '%pseudonym%' or column_name like '%token%' or column_name like '%subject%')
