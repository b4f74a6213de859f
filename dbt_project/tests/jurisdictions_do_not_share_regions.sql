-- Children under another jurisdiction never count in an Indonesian province: their regions are not Kemendagri codes.
select release, jurisdiction, province_code
from {{ ref('compliance_reporting') }}
where jurisdiction <> 'ID' and province_code <> '*'
