{#
  A mart is built into mart_<stakeholder>, by its folder; every other table into core. Schemas are named the same
  in every target: what differs is the database.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- if node.resource_type == 'model' and node.fqn[1] == 'mart' -%}
        mart_{{ node.fqn[2] }}
    {%- elif node.resource_type == 'model' -%}
        core
    {%- else -%}
        {{ (custom_schema_name or target.schema) | trim }}
    {%- endif -%}
{%- endmacro %}
