{% test between(model, column_name, low=none, high=none) %}
{# Where there is a value, it lies within the bounds. #}
select {{ column_name }}
from {{ model }}
where false
    {% if low is not none %}or {{ column_name }} < {{ low }}{% endif %}
    {% if high is not none %}or {{ column_name }} > {{ high }}{% endif %}
{% endtest %}
