-- Differentially private outcome means of the children whom a programme reaches, one row per programme.
select
    release,
    programme_id,
    max(value) filter (where measure = 'average_score') as average_score,
    max(interval_low) filter (where measure = 'average_score') as average_score_interval_low,
    max(interval_high) filter (where measure = 'average_score') as average_score_interval_high,
    max(value) filter (where measure = 'attendance_rate') as attendance_rate,
    max(interval_low) filter (where measure = 'attendance_rate') as attendance_rate_interval_low,
    max(interval_high) filter (where measure = 'attendance_rate') as attendance_rate_interval_high,
    {{ every_origin() }} as data_origin
from {{ source('statistics', 'business__outcome_by_programme') }}
group by release, programme_id
