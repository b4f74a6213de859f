-- What local helpers may know about how many children there are.
{{ child_estimates('community', {
    'child_count_by_regency': ['regency_code'],
}) }}
