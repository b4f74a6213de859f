-- Provinces and districts, and one row for where no region is told, so that every fact finds its region.
with regions as (
    select release, region_code, name, level, data_origin from {{ ref('stg_regions') }}
    where level in ('province', 'regency')
),

provinces as (
    select release, region_code as province_code, name as province_name from regions where level = 'province'
)

select
    regions.release,
    regions.region_code,
    regions.name as region_name,
    regions.level,
    provinces.province_code,
    provinces.province_name,
    regions.data_origin
from regions
left join provinces
    on provinces.release = regions.release and provinces.province_code = left(regions.region_code, 2)
union all
select distinct release, '*', 'Not told', 'unknown', '*', 'Not told', data_origin from regions
