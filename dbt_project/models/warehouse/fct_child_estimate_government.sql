-- What supervising authorities may know about how many children there are.
{{ child_estimates('government', {
    'child_count_by_province': ['province_code', 'age_band', 'sex'],
    'child_count_by_regency': ['regency_code'],
}) }}
