{#
  Where the data behind a row come from, out of the statements of all tables that the row rests on: each origin
  once, in alphabetical order ("generated, open_data"); null where nothing stands behind it. In a query with groups,
  `every_origin` makes the statements of a group one.
#}
{% macro data_origins(origins) -%}
    nullif(array_to_string(list_sort(list_distinct(string_split(concat_ws(', ', {{ origins | join(', ') }}), ', '))), ', '), '')
{%- endmacro %}

{% macro every_origin(origin='data_origin') -%}
    {{ data_origins(["string_agg(distinct " ~ origin ~ ", ', ')"]) }}
{%- endmacro %}
