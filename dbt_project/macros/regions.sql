{#
  Province of a generalised region code: '32.05' and '32' give '32', '*' stays '*' (suppressed or not told).
  Public keys of statistics call that 'unknown'.
#}
{% macro province_of(region_code) -%}
    case when coalesce({{ region_code }}, '*') in ('*', 'unknown') then '*' else left({{ region_code }}, 2) end
{%- endmacro %}
