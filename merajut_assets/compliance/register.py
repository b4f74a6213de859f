"""The register of processing: for which purpose, on which basis and for whom every dataset is kept.

Belongs here: deriving the register from contracts and policies, and what it must hold of each dataset about people.
Nothing of it is written down a second time. Does not belong here: which columns a dataset has (`inventory`), and how
Dagster shows it (`assets`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace

import polars as pl

from merajut_assets.conformed.build import quarantining_tables, raw_inputs
from merajut_assets.contracts import registry
from merajut_assets.contracts.base import LegalBasis, PrivacyClass, Subject, TableContract
from merajut_assets.lineage.sql import RELEASED
from merajut_assets.marts.project import load_labels
from merajut_assets.policies.stakeholder import Aggregate, Microdata, Open, StakeholderPolicy, stakeholder_policies
from merajut_assets.protected.contributors import contributors_table
from merajut_assets.protected.pipeline import entities_of
from merajut_assets.protected.reference import distributions_table, has_distributions
from merajut_assets.statistics.figures import statistic_contract
from merajut_assets.statistics.store import statistic_entities
from resources.lakehouse import Lakehouse

PROCESSING_REGISTER = "compliance/processing_register"
NOBODY = "nobody"
ANALYSTS = "analysts"  # of the house, who write the marts
_SEPARATOR = ", "
_EVIDENCE = "compliance/"  # about no person


@dataclass(frozen=True)
class Processing:
    """What is declared about one dataset. `recipients`: who gets the dataset itself; `passed_on_to`: who gets something
    that was made from it. `data`: its classes of columns, strictest first, with how many there are. Texts that name
    several things name them one after another, in alphabetical order where nothing else is said."""

    dataset: str
    owner: str
    purpose: str
    legal_basis: str
    jurisdiction: str
    consent_purpose: str
    subjects: str
    data: str
    recipients: str
    passed_on_to: str
    country_of_storage: str
    countries_of_recipients: str
    is_sent_abroad: bool
    retention_days: int
    safeguards: str


def processing_register(dispute_window_days: int) -> list[Processing]:
    """One entry for every dataset that is kept: landed tables, entities, refused rows, released datasets and figures,
    what is kept beside them for comparison, what is published, and the analysts' copy. `dispute_window_days`: for how
    long originals are kept. Raises ManifestError when the dbt project was not prepared."""
    return [
        *(_landed(contract, dispute_window_days) for contract in registry.tables("raw").values()),
        *(_entity(contract) for contract in registry.tables("conformed").values()),
        *_refused_rows(),
        *(entry for policy in stakeholder_policies().values() for entry in _released(policy)),
        *(_contributors(contract) for contract in compared_datasets()),
        *(_distributions(contract) for contract in datasets_with_distributions()),
        *(_published(policy) for policy in stakeholder_policies().values()),
        _analysts_copy(),
    ]


def as_frame(entries: Iterable[Processing]) -> pl.DataFrame:
    """The register as a table, with the fields of Processing as columns."""
    types = {"bool": pl.Boolean(), "int": pl.Int64(), "str": pl.String()}
    schema = {field.name: types[str(field.type)] for field in fields(Processing)}
    return pl.DataFrame([vars(entry) for entry in entries], schema=schema)


def store_register(lakehouse: Lakehouse, register: pl.DataFrame) -> int:
    """Store the register where it differs from what is stored; returns its version. Older versions stay: which
    declarations held at a time is evidence, too."""
    version = lakehouse.lake.version(PROCESSING_REGISTER)
    if version is not None:
        stored = lakehouse.read(PROCESSING_REGISTER, reader=PROCESSING_REGISTER, purpose="comparison")
        if stored.equals(register):
            return version
    return lakehouse.lake.overwrite(PROCESSING_REGISTER, register)


def gaps(entries: Iterable[Processing]) -> list[str]:
    """What the register lacks of datasets about people, as text with dataset and remedy; empty when nothing."""
    found = []
    for entry in entries:
        if not entry.subjects:
            continue
        if not entry.purpose:
            found.append(f"{entry.dataset} has no purpose; declare one in its contract")
        if entry.retention_days <= 0:
            found.append(f"{entry.dataset} is kept for ever; declare retention_days in its contract")
        if entry.legal_basis == LegalBasis.NOT_APPLICABLE:
            found.append(
                f"{entry.dataset} is about people without a legal basis; declare one, or none, in its contract"
            )
        if entry.legal_basis == LegalBasis.NONE and entry.recipients != NOBODY:
            found.append(f"{entry.dataset} is given away without a legal basis; take it out of the policy")
    return found


def unregistered(lakehouse: Lakehouse, entries: Iterable[Processing]) -> list[str]:
    """Stored datasets that the register does not know: what is kept must be accounted for."""
    known = {entry.dataset for entry in entries}
    lake = lakehouse.lake
    stored = {table for table in lake.tables() if not table.startswith(_EVIDENCE)}
    stored |= {path.parent.relative_to(lake.root).as_posix() for path in (lake.root / "raw").glob("*/*/versions.json")}
    # The pointer of a stakeholder's publications lies in that stakeholder's folder; hidden ones hold locks.
    stored |= {RELEASED} if lakehouse.warehouse.kept() else set()
    stored |= {f"published/{folder.name}" for folder in lakehouse.settings.published.glob("[!.]*/") if folder.is_dir()}
    return sorted(stored - known)


# ── one entry ────────────────────────────────────────────────────────────────────────────


def _entry(
    contract: TableContract, *, safeguards: str, recipients: Iterable[str] = (), passed_on_to: Iterable[str] = ()
) -> Processing:
    policies = stakeholder_policies()
    receiving, further = sorted(recipients), sorted(passed_on_to)
    countries = sorted({policies[name].recipient_country for name in (*receiving, *further)})
    asked = (*receiving, *further) if contract.subjects and contract.legal_basis is LegalBasis.CONSENT else ()
    return Processing(
        dataset="/".join(contract.asset_key),
        owner=contract.owner,
        purpose=contract.purpose,
        legal_basis=contract.legal_basis.value,
        jurisdiction=contract.jurisdiction,
        consent_purpose=_SEPARATOR.join(sorted({policies[name].consent_purpose for name in asked})),
        subjects=_SEPARATOR.join(contract.subjects),
        data=_classes(column.privacy for column in contract.columns),
        recipients=_SEPARATOR.join(receiving) or NOBODY,
        passed_on_to=_SEPARATOR.join(further) or NOBODY,
        country_of_storage=contract.country_of_storage,
        countries_of_recipients=_SEPARATOR.join(countries),
        is_sent_abroad=any(country != contract.country_of_storage for country in countries),
        retention_days=contract.retention_days,
        safeguards=safeguards,
    )


def _classes(classes: Iterable[PrivacyClass]) -> str:
    found = list(classes)
    return _SEPARATOR.join(f"{one.value}: {found.count(one)}" for one in PrivacyClass if one in found)


def _landed(contract: TableContract, dispute_window_days: int) -> Processing:
    if contract.subjects:
        safeguards = (
            "rows encrypted under the keys of the people they are about; identifiers matched by keyed tokens; "
            f"originals destroyed after {dispute_window_days} days"
        )
    else:
        safeguards = "files encrypted under keys of their own"
    fed = [entity for entity in registry.tables("conformed").values() if contract in raw_inputs(entity)]
    return _entry(
        contract, safeguards=safeguards, passed_on_to={name for entity in fed for name in _getting(entity, [contract])}
    )


def _entity(contract: TableContract) -> Processing:
    step = "keyed tokens in the place of identifiers; " if contract.subjects else ""
    getting = _getting(contract, raw_inputs(contract))
    return _entry(contract, safeguards=f"{step}files encrypted under keys of their own", passed_on_to=getting)


def _getting(entity: TableContract, sources: Iterable[TableContract]) -> set[str]:
    """The stakeholders who get something that is made from an entity's rows out of these source tables: those of
    whose legal bases one is that of the rows."""
    bases = {table.legal_basis for table in sources}
    return {
        policy.stakeholder
        for policy in stakeholder_policies().values()
        if bases & set(policy.legal_bases) and any(entity.name in entities for _, entities in _made_from(policy))
    }


def _made_from(policy: StakeholderPolicy) -> Iterator[tuple[TableContract, tuple[str, ...]]]:
    """Everything that is released to a stakeholder, with the entities that it is made from."""
    for name in policy.datasets:
        contract = registry.protected_dataset(policy.stakeholder, name)
        yield contract, entities_of(contract)
    for name in policy.statistics:
        contract = statistic_contract(policy.stakeholder, name)
        yield contract, statistic_entities(contract)


def _released(policy: StakeholderPolicy) -> Iterator[Processing]:
    for contract, _ in _made_from(policy):
        safeguards = _safeguards(policy, contract.name, is_statistic=contract.name in policy.statistics)
        yield _entry(contract, safeguards=safeguards, recipients=[policy.stakeholder])


def _safeguards(policy: StakeholderPolicy, name: str, *, is_statistic: bool) -> str:
    if is_statistic:
        return f"differentially private figures, ε = {policy.epsilon(name):g} a release"
    dataset = policy.datasets[name]
    if isinstance(dataset, Microdata):
        diverse = [
            f"{column} at least {rule.l_diversity.l}"
            for column, rule in dataset.privacy.sensitive.items()
            if rule.l_diversity is not None
        ]
        return (
            f"pseudonyms of this stakeholder, new every {policy.pseudonym_period}; generalised, at least "
            f"{dataset.privacy.k} people alike" + (f"; different values: {_SEPARATOR.join(diverse)}" if diverse else "")
        )
    if isinstance(dataset, Aggregate):
        return f"figures that stand on fewer than {dataset.k} {dataset.contributors} are withheld"
    assert isinstance(dataset, Open), "a policy knows three kinds of datasets"
    return "about no person"


def _refused_rows() -> Iterator[Processing]:
    """Quarantine: rows of a system as they came, so that everything is as for its landed tables."""
    feeding: dict[str, dict[str, TableContract]] = {}
    for entity in registry.tables("conformed").values():
        for table in quarantining_tables(entity):
            feeding.setdefault(table.system, {})[table.identifier] = table
    for name, tables in sorted(feeding.items()):
        system = registry.systems()[name]
        contracts = list(tables.values())
        yield Processing(
            dataset=f"quarantine/{name}",
            owner=system.owner,
            purpose=f"{system.purpose}; mending of rows that a rule refused",
            legal_basis=_SEPARATOR.join(sorted({one.legal_basis.value for one in contracts if one.subjects}))
            or LegalBasis.NOT_APPLICABLE.value,
            jurisdiction=_SEPARATOR.join(sorted({one.jurisdiction for one in contracts})),
            consent_purpose="",
            subjects=_SEPARATOR.join(one for one in Subject if any(one in table.subjects for table in contracts)),
            data=_classes(column.privacy for table in contracts for column in table.columns),
            recipients=NOBODY,
            passed_on_to=NOBODY,
            country_of_storage=_SEPARATOR.join(sorted({one.country_of_storage for one in contracts})),
            countries_of_recipients="",
            is_sent_abroad=False,
            retention_days=max(one.retention_days for one in contracts),
            safeguards="rows encrypted under the keys of the people they are about, as far as they are about people",
        )


def compared_datasets() -> list[TableContract]:
    """The datasets of figures of which it is remembered who stood behind them."""
    return _datasets(lambda policy, name: isinstance(policy.datasets[name], Aggregate))


def _contributors(contract: TableContract) -> Processing:
    """Who stands behind the figures of a dataset, for as long as releases of it are compared."""
    return replace(
        _entry(contract, safeguards="keyed digests in the place of people; files encrypted under keys of their own"),
        dataset=contributors_table(contract),
        purpose=f"{contract.purpose}; comparison of releases, so that their differences tell about nobody",
        data=_classes([PrivacyClass.OPERATIONAL]),
    )


def datasets_with_distributions() -> list[TableContract]:
    """The datasets beside which it is kept how sensitive values were distributed before anonymising."""
    return _datasets(has_distributions)


def _datasets(is_meant: Callable[[StakeholderPolicy, str], bool]) -> list[TableContract]:
    return [
        registry.protected_dataset(policy.stakeholder, name)
        for policy in stakeholder_policies().values()
        for name in policy.datasets
        if is_meant(policy, name)
    ]


def _distributions(contract: TableContract) -> Processing:
    """How many people had each sensitive value, for as long as releases of the dataset are verified."""
    return replace(
        _entry(contract, safeguards="counts over the whole dataset, of one column at a time; files encrypted"),
        dataset=distributions_table(contract),
        purpose=f"{contract.purpose}; verification of releases by what their classes are compared with",
        data=_classes(column.privacy for column in contract.columns if column.privacy is PrivacyClass.SENSITIVE),
    )


def _published(policy: StakeholderPolicy) -> Processing:
    """A stakeholder's file: what all datasets and figures released to it have in common."""
    contracts = [contract for contract, _ in _made_from(policy)]
    return replace(
        _together([policy]),
        dataset=f"published/{policy.stakeholder}",
        owner="team:privacy",
        data=_classes(column.privacy for contract in contracts for column in contract.columns),
        recipients=policy.stakeholder,
        countries_of_recipients=policy.recipient_country,
        safeguards=f"protection level {policy.protection_level}; one file, encrypted under the stakeholder's key",
    )


def _analysts_copy() -> Processing:
    """The warehouse as analysts have it: everything that is released to any stakeholder, with the marts made of it.
    They work where it is stored; what leaves is what is published."""
    policies = list(stakeholder_policies().values())
    levels = sorted({policy.protection_level for policy in policies})
    together = _together(policies)
    return replace(
        together,
        dataset=RELEASED,
        owner="team:data-engineering",
        purpose=f"making and checking marts for: {together.purpose}",
        data=_classes(map(PrivacyClass, load_labels()[RELEASED].values())),
        recipients=ANALYSTS,
        countries_of_recipients=together.country_of_storage,
        is_sent_abroad=False,
        safeguards=f"released data only, at protection levels {_SEPARATOR.join(levels)}; one file, encrypted under the "
        "analysts' key, read-only to them; every opening is in the audit log",
    )


def _together(policies: Collection[StakeholderPolicy]) -> Processing:
    """What the policies and contracts of everything that is released to some stakeholders say, in one entry; without
    what it is and who has it."""
    contracts = [contract for policy in policies for contract, _ in _made_from(policy)]
    storage = sorted({contract.country_of_storage for contract in contracts})
    countries = sorted({policy.recipient_country for policy in policies})
    return Processing(
        dataset="",
        owner="",
        purpose="; ".join(sorted({policy.purpose for policy in policies})),
        legal_basis=_SEPARATOR.join(sorted({basis.value for policy in policies for basis in policy.legal_bases})),
        jurisdiction=_SEPARATOR.join(sorted({one for table in contracts for one in table.jurisdiction.split(",")})),
        consent_purpose=_SEPARATOR.join(sorted({policy.consent_purpose for policy in policies})),
        subjects=_SEPARATOR.join(one for one in Subject if any(one in table.subjects for table in contracts)),
        data="",
        recipients=NOBODY,
        passed_on_to=NOBODY,
        country_of_storage=_SEPARATOR.join(storage),
        countries_of_recipients=_SEPARATOR.join(countries),
        is_sent_abroad=storage != countries,
        retention_days=min(policy.retention_days for policy in policies),
        safeguards="",
    )
