{% test withheld_below(model, column_name, flag, contributors=none, minimum=none) %}
{#
  No figure about fewer than `minimum` people is shown, and the flag tells the truth: a flagged row shows
  nothing. `contributors` counts the people behind the figure; by default the figure counts them itself.
#}
select {{ column_name }}
from {{ model }}
where
    {{ contributors or column_name }} < {{ minimum or var('minimum_contributors') }}
    or ({{ flag }} and {{ column_name }} is not null)
{% endtest %}
