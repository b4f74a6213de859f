-- The region list is the same open data for everybody; each stakeholder's copy is read, so that none depends on another's.
select release, region_code, name, level, parent_code, data_origin from {{ source('protected', 'government__region') }}
union
select release, region_code, name, level, parent_code, data_origin from {{ source('protected', 'academia__region') }}
union
select release, region_code, name, level, parent_code, data_origin from {{ source('protected', 'community__region') }}
