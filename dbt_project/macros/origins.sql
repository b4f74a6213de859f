{#
  Where the data behind a group of rows come from: each origin once, in alphabetical order ("generated, open_data").
  A mart says it of whole tables, by release and jurisdiction: told of what was joined to a row, it would say whether
  there is somebody behind a figure that is withheld.
#}
{% macro every_origin(origin='data_origin') -%}
    array_to_string(list_sort(list_distinct(string_split(string_agg(distinct {{ origin }}, ', '), ', '))), ', ')
{%- endmacro %}
