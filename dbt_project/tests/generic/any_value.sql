{% test any_value(model, column_name) %}
{# A measure that is empty on every row tells its readers nothing, and mostly means a broken join. #}
select 1 where not exists (select 1 from {{ model }} where {{ column_name }} is not null)
{% endtest %}
