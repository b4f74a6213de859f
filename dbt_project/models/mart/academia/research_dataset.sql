-- The anonymised rows as verified, with the name of their region and the size of their class.
select
    child.release,
    child.child_pseudonym,
    child.sex,
    child.age_band,
    child.region_code,
    region.region_name,
    child.education_level,
    child.years_in_care,
    child.diagnosis_group,
    child.abuse_type,
    child.school_outcome,
    count(*) over (
        partition by
            child.release, child.sex, child.age_band, child.region_code, child.education_level, child.years_in_care
    ) as class_size,
    child.data_origin
from {{ source('protected', 'academia__research_child') }} as child
left join {{ ref('dim_region') }} as region
    on region.release = child.release and region.region_code = child.region_code
