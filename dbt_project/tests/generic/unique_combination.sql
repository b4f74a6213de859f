{% test unique_combination(model, columns) %}
{# The columns together name a row. #}
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}
