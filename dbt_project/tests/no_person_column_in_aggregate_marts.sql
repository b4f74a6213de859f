-- Marts about groups declare no column that stands for a person, neither a pseudonym nor a token: a mart may have one
-- only when its meta says is_row_level. Contracts are enforced, so that the declared columns are the stored ones.
-- What a column is named is judged here, what it is made of when the manifest is prepared.
with person_columns (mart, column_name) as (
    values
        ('', '')
        {%- for node in graph.nodes.values() if execute and node.resource_type == 'model' and node.fqn[1] == 'mart' and not node.config.meta.get('is_row_level') %}
        {%- for column in node.columns if 'pseudonym' in column or 'token' in column or 'subject' in column %},
        ('{{ node.name }}', '{{ column }}')
        {%- endfor %}
        {%- endfor %}
)

select mart, column_name
from person_columns
where mart <> ''
