-- What the media may know about how many children there are.
{{ child_estimates('media', {
    'child_count_by_province': ['province_code'],
}) }}
