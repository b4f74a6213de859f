{# Last day of the release's month: the cut-off date to which everything in a release refers. #}
{% macro cut_off_date(release) -%}
    last_day(cast({{ release }} || '-01' as date))
{%- endmacro %}
