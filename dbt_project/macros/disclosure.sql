{#
  A figure, or null when fewer than `minimum` distinct people stand behind it; a stakeholder whose k is above
  `minimum_contributors` needs that.
  No people at all is withheld, too: a zero says something about everybody in the cell.
#}
{% macro at_least_minimum(figure, contributors, minimum=var('minimum_contributors')) -%}
    case when {{ contributors }} >= {{ minimum }} then {{ figure }} end
{%- endmacro %}

{# Whether at_least_minimum withholds; true without a count, so that what cannot be judged is not shown. #}
{% macro is_below_minimum(contributors, minimum=var('minimum_contributors')) -%}
    coalesce({{ contributors }} < {{ minimum }}, true)
{%- endmacro %}

{# Quotient, or null where the divisor is null or zero. #}
{% macro share(part, whole, digits=4) -%}
    round(cast({{ part }} as double) / nullif({{ whole }}, 0), {{ digits }})
{%- endmacro %}

{#
  Share of people who have something, or null when fewer than `minimum` have it or lack it: a share of
  0 or 1 tells of everybody, and one close to it of nearly everybody.
#}
{% macro share_of_people(part, whole, digits=2, minimum=var('minimum_contributors')) -%}
    case
        when
            {{ part }} >= {{ minimum }}
            and {{ whole }} - {{ part }} >= {{ minimum }}
        then {{ share(part, whole, digits) }}
    end
{%- endmacro %}

{# A noisy count as a count of people: not below zero. `greatest` would make a withheld figure a zero. #}
{% macro not_negative(figure) -%}
    case when {{ figure }} < 0 then 0 else {{ figure }} end
{%- endmacro %}
