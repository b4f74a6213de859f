"""Whether policies, contracts and summaries tell of the same datasets, and in a way that can be protected.

Belongs here: what can be judged before any data are there, when definitions are loaded. Does not belong
here: what a policy says about itself (`policies`) and whether rows meet it (`pipeline`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from merajut_assets.contracts import registry
from merajut_assets.contracts.base import ContractError, Subject, TableContract
from merajut_assets.policies.levels import budget_problems, level_problems
from merajut_assets.policies.stakeholder import Aggregate, Microdata, Open, StakeholderPolicy, stakeholder_policies
from merajut_assets.privacy.disclosure import DisclosureError, refuse_margins
from merajut_assets.protected.linkage import is_looked_up
from merajut_assets.protected.pipeline import WITHHELD
from merajut_assets.protected.summaries import registered_summaries


def check_datasets() -> None:
    """Raise ContractError with everything that does not fit between policies, contracts and summaries."""
    contracts = {(contract.system, contract.name): contract for contract in registry.tables("protected").values()}
    problems = dataset_problems(stakeholder_policies(), contracts, registered_summaries())
    if problems:
        raise ContractError("; ".join(problems))


def dataset_problems(
    policies: Mapping[str, StakeholderPolicy],
    contracts: Mapping[tuple[str, str], TableContract],
    summaries: Collection[tuple[str, str]],
) -> list[str]:
    """What is missing or cannot be protected, each with where to put it right; empty when all fits.

    `contracts` and `summaries` by stakeholder and dataset."""
    declared = {(policy.stakeholder, name): policy for policy in policies.values() for name in policy.datasets}
    problems = []
    for stakeholder, name in sorted({*declared, *contracts, *summaries}):
        places = {
            f"a dataset in policies/{stakeholder}.yaml": declared,
            "a contract in contracts/protected.py": contracts,
            "a summary in protected/summaries": summaries,
        }
        has = [place for place, names in places.items() if (stakeholder, name) in names]
        lacks = [place for place, names in places.items() if (stakeholder, name) not in names]
        if lacks:
            problems.append(f"{stakeholder}.{name} has {' and '.join(has)}, but not {' nor '.join(lacks)}: write it")
            continue
        contract, dataset = contracts[stakeholder, name], declared[stakeholder, name].datasets[name]
        problems += [f"{stakeholder}.{name} {problem}" for problem in _problems_of(contract, dataset)]
        problems += [
            f"{stakeholder}.{name} {problem}" for problem in level_problems(declared[stakeholder, name], contract)
        ]
    for policy in policies.values():
        problems += budget_problems(policy)
        problems += _margins(policy, contracts)
    return problems


def _problems_of(contract: TableContract, dataset: Microdata | Aggregate | Open) -> Iterator[str]:
    if isinstance(dataset, Microdata):
        needed = ["prosecutor.highest", *(["linkage.share_right"] if is_looked_up(contract) else [])]
        if missing := [figure for figure in needed if figure not in dataset.risk_limits]:
            yield f"has rows about persons and no limit of risk for {', '.join(missing)}: add it to its risk_limits"
    elif isinstance(dataset, Aggregate):
        columns = {column.name for column in contract.columns}
        missing = sorted({dataset.contributors, WITHHELD} - columns)
        if missing:
            yield f"is an aggregate without the column(s) {', '.join(missing)}: declare them in its contract"
        if len(contract.subjects) != 1 or not contract.key:
            yield "is an aggregate, whose contract has to name one kind of subject and the key of its cells"
    else:
        people = sorted(
            {
                source.split(".")[0]
                for column in contract.columns
                for source in (*column.sources, *column.linked_by)
                if _names_people(source)
            }
        )
        if contract.subjects or people:
            yield f"is open, and counts people ({', '.join(people) or 'its subjects'}): make it an aggregate with k"


def _names_people(source: str) -> bool:
    """Whether every row of the entity behind a source is about a person. Rows that may be about nobody, such as
    stories without a child, are used by open datasets when they are."""
    entity = registry.entity(source.split(".")[0])
    columns = [entity.subject_columns.get(subject) for subject in entity.subjects]
    named = (entity.column(column) for column in columns if column is not None)
    return None in columns or any(column.required or column.required_when for column in named)


def _margins(policy: StakeholderPolicy, contracts: Mapping[tuple[str, str], TableContract]) -> Iterator[str]:
    """Aggregates over the same kind of people by different keys: from two of them withheld cells could follow."""
    breakdowns: dict[tuple[Subject, ...], dict[str, tuple[str, ...]]] = {}
    for name, dataset in policy.datasets.items():
        contract = contracts.get((policy.stakeholder, name))
        if isinstance(dataset, Aggregate) and contract is not None:
            breakdowns.setdefault(contract.subjects, {})[name] = contract.key
    for tables in breakdowns.values():
        try:
            refuse_margins(tables)
        except DisclosureError as error:
            yield f"{policy.stakeholder}: {error}"
