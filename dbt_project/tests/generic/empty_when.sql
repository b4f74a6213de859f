{% test empty_when(model, column_name, flag) %}
{# A row that says it is withheld shows nothing, not even a zero. #}
select {{ column_name }}
from {{ model }}
where {{ flag }} and {{ column_name }} is not null
{% endtest %}
