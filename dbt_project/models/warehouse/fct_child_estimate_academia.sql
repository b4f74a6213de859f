-- What researchers may know about how many children there are.
{{ child_estimates('academia', {
    'child_count_by_province': ['province_code', 'age_band', 'sex'],
}) }}
