"""The claim that a release is the best one, and the check of that claim by trying everything.

Belongs here: what is certified, and `verify_certificate`, which has its own definitions of models and
metrics and uses none of the code that searched: it looks at labels, groups rows, and counts. It shares
with the search the policy and the levels of a column (`hierarchy`) only. Does not belong here: the
search, or whether a stored table keeps its policy (`verify`).

    verify_certificate(frame, policy, certificate, *, population=None, digest_key=None) -> dict

`frame` is what was anonymised, not what came out. The answer: `valid`, `problems` (texts without values),
`nodes` (how many were tried).

A certificate holds figures and digests, never a value of the data. The digest of the policy is plain, for a
policy is no secret; that of the frame exists under a key only, because by a plain one whoever can guess a
small table could confirm the guess.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from merajut_assets.privacy.hierarchy import Hierarchy, build_hierarchy, read_hierarchy
from merajut_assets.privacy.intake import taken, with_one_zero
from merajut_assets.privacy.policy import Policy, PolicyError, Sensitive

VERSION = 1
MINIMUM_KEY_BYTES = 32
MAXIMUM_NODES = 20_000
# Shares are compared as doubles here: what differs by less is equal.
TOLERANCE = 1e-9


def certify(report: Mapping[str, Any], policy: Policy, frame: pl.DataFrame, key: bytes | None) -> dict[str, Any] | None:
    """The certificate of a finished report; None for local recoding, of which nothing is claimed. `optimal` tells
    per partition whether an optimum is claimed, or a lower bound only."""
    if policy.search != "optimal":
        return None
    return {
        "version": VERSION,
        "policy_digest": policy_digest(policy),
        "input_digest": input_digest(frame, policy, key) if key is not None else None,
        "metric": policy.metric,
        "solution": report["solution"],
        "partitions": [
            {
                "rows": part["rows"],
                "solution": part["solution"],
                "levels": part.get("transformation"),
                "value": part.get("metric_value"),
                "lower_bound": part.get("lower_bound"),
                "gap": part.get("gap"),
                "optimal": part["optimal"],
                "suppressed": part.get("suppressed"),
                "lattice_size": part["lattice_size"],
                "nodes_checked": part["nodes_checked"],
                "pruned_by": part["pruned_by"],
            }
            for part in report["partitions"]
        ],
    }


def policy_digest(policy: Policy) -> str:
    """SHA-256 of everything in the policy, a hierarchy standing for what its file holds, wherever it lies."""
    content = json.dumps(_contents(policy.model_dump(mode="python")), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def _contents(entry: Any) -> Any:
    if isinstance(entry, Mapping):
        # A population may be given as a frame instead: it is no part of the policy's meaning.
        return {name: _contents(value) for name, value in entry.items() if name != "population"}
    if isinstance(entry, Path):
        try:
            return hashlib.sha256(entry.read_bytes()).hexdigest()
        except OSError:
            raise PolicyError(f"hierarchy {entry.name} cannot be read; check the path in the policy") from None
    return [_contents(value) for value in entry] if isinstance(entry, tuple | list) else entry


def input_digest(frame: pl.DataFrame, policy: Policy, key: bytes) -> str:
    """HMAC-SHA-256 under `key` of the columns that the policy names, independent of the order of rows."""
    if len(key) < MINIMUM_KEY_BYTES:
        raise PolicyError(f"digest_key needs at least {MINIMUM_KEY_BYTES} bytes")
    named = {*policy.class_columns, *policy.sensitive, *([policy.subject] if policy.subject else [])}
    columns = with_one_zero(frame.select(sorted(named)), sorted(named))
    types = json.dumps([[name, str(dtype)] for name, dtype in columns.schema.items()])
    digest = hmac.new(key, types.encode(), hashlib.sha256)
    # What CSV has no form for is written as the digits that it is stored as.
    ordered = columns.sort(columns.columns).with_columns(cs.binary().bin.encode("hex"), cs.duration().to_physical())
    digest.update(ordered.write_csv(quote_style="always", null_value="").encode())
    return digest.hexdigest()


def verify_certificate(
    frame: pl.DataFrame,
    policy: Policy,
    certificate: Mapping[str, Any],
    *,
    population: pl.DataFrame | None = None,
    digest_key: bytes | None = None,
) -> dict[str, Any]:
    """Whether `certificate` tells the truth about `frame` under `policy`, by evaluating every node.

    It does when it claims an optimum, when policy and, given the key, frame are those that were certified, when
    the certified levels have the certified value and suppression and keep the policy, and when no node has a
    lower value.
    Raises PolicyError when the lattice has more than MAXIMUM_NODES nodes, or a population is missing, and
    DataError when the frame does not fit the policy.
    """
    if certificate.get("version") != VERSION or not isinstance(certificate.get("partitions"), Sequence):
        return {"valid": False, "problems": ["this is no certificate of a version that is known"], "nodes": 0}
    if not all(claim.get("optimal") is True for claim in certificate["partitions"]):
        return {"valid": False, "problems": ["the certificate claims no optimum, a lower bound only"], "nodes": 0}
    table = Table(frame, policy, population)
    problems = []
    if certificate.get("policy_digest") != policy_digest(policy):
        problems.append("the certificate is of another policy")
    if certificate.get("input_digest") is not None and digest_key is not None:
        own = input_digest(frame, policy, digest_key)
        if not hmac.compare_digest(str(certificate["input_digest"]), own):
            problems.append("the certificate is of another frame")
    parts = table.parts()
    nodes = 0
    if len(parts) != len(certificate["partitions"]):
        problems.append(f"{len(certificate['partitions'])} partitions are certified and there are {len(parts)}")
    for number, (part, claim) in enumerate(zip(parts, certificate["partitions"], strict=False), 1):
        where = f"partition {number}: " if len(parts) > 1 else ""
        tried, wrong = _check_part(table, part, claim)
        nodes += tried
        problems += [f"{where}{problem}" for problem in wrong]
    solved = bool(parts) and all(claim.get("solution") for claim in certificate["partitions"])
    if bool(certificate.get("solution")) != (solved and len(frame) > 0):
        problems.append("the certificate contradicts itself about there being a solution")
    return {"valid": not problems, "problems": problems, "nodes": nodes}


def _check_part(table: Table, part: _Rows, claim: Mapping[str, Any]) -> tuple[int, list[str]]:
    """How many nodes were tried, and what is wrong with the claim."""
    nodes = list(product(*table.levels))
    if claim.get("lattice_size") != len(nodes):
        return 0, [f"the lattice is said to have {claim.get('lattice_size')} nodes and has {len(nodes)}"]
    if claim.get("rows") != part.frame.height:
        return 0, [f"{claim.get('rows')} rows are certified and there are {part.frame.height}"]
    accounted = claim.get("nodes_checked", 0) + sum(claim.get("pruned_by", {}).values())
    problems = [] if accounted == len(nodes) else [f"{accounted} of {len(nodes)} nodes are accounted for"]
    outcomes = {node: outcome for node in nodes if (outcome := table.evaluate(part, node)) is not None}
    if not claim.get("solution"):
        if outcomes:
            problems.append("no solution is certified and there is one")
        return len(nodes), problems
    levels = tuple((claim.get("levels") or {}).get(name, -1) for name in table.hierarchies)
    own = outcomes.get(levels)
    if own is None:
        return len(nodes), [*problems, "the certified levels do not keep the policy"]
    least = min(outcome.value for outcome in outcomes.values())
    for name, certified, found in (
        ("value", claim.get("value"), own.value),
        ("suppressed", claim.get("suppressed"), own.suppressed),
        ("lower_bound", claim.get("lower_bound"), least),
    ):
        if certified is None or not math.isclose(certified, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            problems.append(f"{name} is certified as {certified} and is {found}")
    if not math.isclose(own.value, least, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
        problems.append(f"the certified levels have the value {own.value} and others have {least}")
    return len(nodes), problems


@dataclass(frozen=True)
class _Outcome:
    value: float
    suppressed: int
    classes: int


@dataclass(frozen=True)
class _Rows:
    """A partition: per quasi-identifier and level the label's number, its share of the hierarchy and its frequency
    in the partition, beside sensitive columns and subject; and the people of the population, labels only."""

    frame: pl.DataFrame
    people: pl.DataFrame | None


class Table:
    """The frame with all labels that any node publishes."""

    def __init__(self, frame: pl.DataFrame, policy: Policy, population: pl.DataFrame | None) -> None:
        self.policy = policy
        frame = taken(frame, policy)
        people = None
        if policy.needs_population:
            people = population
            if people is None:
                if policy.population is None:
                    raise PolicyError("the policy needs a population: name a Parquet file in it, or give a frame")
                people = pl.read_parquet(policy.population)
            people = people.select(pl.col(name).cast(frame.schema[name]) for name in policy.class_columns)
        self.hierarchies: dict[str, Hierarchy] = {}
        labels, labels_of_people = [], []
        for name, spec in policy.quasi_identifiers.items():
            column = frame.get_column(name)
            both = column if people is None else pl.concat([column, people.get_column(name)])
            hierarchy = self.hierarchies[name] = build_hierarchy(both, spec)
            for level in range(spec.least_level, hierarchy.levels):
                texts = hierarchy.published(level)
                number = texts.rank("dense").cast(pl.UInt32).alias(f"{name}\0{level}")
                counted = pl.Series(hierarchy.cover[level])[hierarchy.codes[level]][hierarchy.rows]
                share = (counted / hierarchy.domain).alias(f"{name}\0{level}\0share")
                labels += [number.head(len(frame)), share.head(len(frame))]
                labels_of_people.append(number.slice(len(frame)))
        self.levels = [
            range(spec.least_level, hierarchy.levels)
            for spec, hierarchy in zip(policy.quasi_identifiers.values(), self.hierarchies.values(), strict=True)
        ]
        if (size := math.prod(len(levels) for levels in self.levels)) > MAXIMUM_NODES:
            raise PolicyError(
                f"the lattice has {size:,} nodes; a certificate is checked by trying all, {MAXIMUM_NODES:,} at most"
            )
        subject = [policy.subject] if policy.subject is not None else []
        self.frame = frame.select(*policy.exact, *policy.sensitive, *subject).with_columns(labels)
        self.people = None if people is None else people.select(policy.exact).with_columns(labels_of_people)
        self.shares = {name: _shares(frame.get_column(name)) for name in policy.sensitive}
        self.trees = {name: _tree(spec) for name, spec in policy.sensitive.items()}

    def parts(self) -> list[_Rows]:
        """The partitions by the exact columns, in their ascending order."""
        exact = list(self.policy.exact)
        if not exact:
            return [self._part(self.frame, self.people)]
        parts = []
        for values in self.frame.select(exact).unique().sort(exact).iter_slices(1):
            mine = self.frame.join(values, on=exact, how="semi", nulls_equal=True)
            people = None
            if self.people is not None:
                people = self.people.join(values, on=exact, how="semi", nulls_equal=True)
            parts.append(self._part(mine, people))
        return parts

    def _part(self, frame: pl.DataFrame, people: pl.DataFrame | None) -> _Rows:
        labels = [name for name in frame.columns if name.count("\0") == 1]
        return _Rows(frame.with_columns(pl.len().over(name).alias(f"{name}\0often") for name in labels), people)

    def evaluate(self, part: _Rows, node: tuple[int, ...]) -> _Outcome | None:
        """What `node` costs the partition; None where it breaks the policy."""
        policy = self.policy
        columns = [f"{name}\0{level}" for name, level in zip(self.hierarchies, node, strict=True)]
        subjects = pl.len() if policy.subject is None else pl.col(policy.subject).n_unique()
        classes = part.frame.group_by(columns).agg(pl.len().alias("\0size"), subjects.alias("\0subjects"))
        fails = [pl.col("\0subjects") < policy.k]
        for name, spec in policy.sensitive.items():
            classes, broken = self._judge_sensitive(part, classes, columns, name, spec)
            fails += broken
        uncovered = False
        if part.people is not None:
            classes, broken, uncovered = self._judge_population(part.people, classes, columns)
            fails += broken
        classes = classes.with_columns(pl.any_horizontal(fails).alias("\0fails"))
        rows = part.frame.height
        kept = classes.filter(~pl.col("\0fails")).get_column("\0size")
        suppressed = rows - int(kept.sum())
        limit = int(Decimal(str(policy.suppression_limit)) * rows)
        if policy.delta_presence is not None and policy.delta_presence.min > 0:
            limit = 0
        if uncovered or suppressed > limit or suppressed == rows:
            return None
        marked = part.frame.join(classes.select(*columns, "\0fails"), on=columns, how="left")
        return _Outcome(self._value(marked, node, kept, suppressed), suppressed, len(kept))

    def _judge_sensitive(
        self, part: _Rows, classes: pl.DataFrame, columns: list[str], name: str, spec: Sensitive
    ) -> tuple[pl.DataFrame, list[pl.Expr]]:
        """The classes with what their values amount to, and what must not hold of it."""
        count, size = pl.col("\0count"), pl.col("\0count").sum()
        counted = part.frame.group_by(*columns, name).agg(pl.len().alias("\0count"))
        known = counted.filter(pl.col(name).is_not_null())
        found: list[tuple[pl.DataFrame, pl.Expr, bool]] = []  # per model the figure per class, and what fails
        fails: list[pl.Expr] = []
        figure = f"\0{name}\0"
        if (diversity := spec.l_diversity) is not None:
            entropy = size.log() - (count * count.log()).sum() / size
            ordered = count.sort(descending=True)
            if diversity.kind == "distinct":
                expression, broken = pl.len() * 1.0, pl.col(f"{figure}l") < diversity.l
            elif diversity.kind == "entropy":
                expression, broken = entropy, pl.col(f"{figure}l") < math.log(diversity.l) - TOLERANCE
            else:
                assert diversity.c is not None
                tail = ordered.slice(int(diversity.l) - 1).sum()
                expression = diversity.c * tail - count.max()
                broken = pl.col(f"{figure}l") <= TOLERANCE
            found.append((known.group_by(columns).agg(expression.alias(f"{figure}l")), broken, True))
        if spec.t_closeness is not None:
            distances = self._distances(counted, columns, name, spec).rename({"\0distance": f"{figure}t"})
            found.append((distances, pl.col(f"{figure}t") > spec.t_closeness.t + TOLERANCE, False))
        if spec.beta_likeness is not None:
            gain = (
                counted.join(self.shares[name], on=name, how="left", nulls_equal=True)
                .with_columns((count / size.over(columns) / pl.col("\0share") - 1).alias("\0gain"))
                .group_by(columns)
                .agg(pl.col("\0gain").max().alias(f"{figure}b"))
            )
            found.append((gain, pl.col(f"{figure}b") > spec.beta_likeness + TOLERANCE, False))
        for figures, broken, is_missing_a_failure in found:
            classes = classes.join(figures, on=columns, how="left")
            fails.append(broken.fill_null(is_missing_a_failure))
        return classes, fails

    def _distances(self, counted: pl.DataFrame, columns: list[str], name: str, spec: Sensitive) -> pl.DataFrame:
        """Per class the distance that the policy asks for (`\\0distance`)."""
        assert spec.t_closeness is not None
        share = (pl.col("\0count") / pl.col("\0count").sum().over(columns)).alias("\0here")
        here = counted.with_columns(share)
        if spec.t_closeness.kind == "ordered":
            order = self.shares[name].sort(name)
            if spec.t_closeness.order is not None:
                ranks = pl.DataFrame({name: [str(value) for value in spec.t_closeness.order]}).with_row_index("\0rank")
                order = ranks.join(order.cast({name: pl.String}), on=name, how="left").fill_null(0.0).sort("\0rank")
                here = here.cast({name: pl.String})
            grid = here.select(columns).unique().join(order.with_row_index("\0place"), how="cross")
            moved = (
                grid.join(here.select(*columns, name, "\0here"), on=[*columns, name], how="left")
                .sort("\0place")
                .with_columns((pl.col("\0here").fill_null(0.0) - pl.col("\0share")).cum_sum().over(columns).abs())
            )
            ranks_apart = max(len(order) - 1, 1)
            return moved.group_by(columns).agg((pl.col("\0here").sum() / ranks_apart).alias("\0distance"))
        levels: list[pl.DataFrame | None] = [None]
        if spec.t_closeness.kind == "hierarchical":
            levels = list(self.trees[name])
        per_level = []
        for level in levels:
            shown, whole = here, self.shares[name]
            if level is not None:
                texts = level.rename({"value": name})
                shown = _under(shown.cast({name: pl.String}), texts, name, [*columns], "\0here")
                whole = _under(whole.cast({name: pl.String}), texts, name, [], "\0share")
            above = (pl.col("\0here") - pl.col("\0share")).clip(lower_bound=0.0).sum()
            joined = shown.join(whole, on=name, how="left", nulls_equal=True)
            per_level.append(joined.group_by(columns).agg(above.alias("\0distance")))
        total = pl.concat(per_level).group_by(columns).agg(pl.col("\0distance").sum() / len(levels))
        return total

    def _judge_population(
        self, people: pl.DataFrame, classes: pl.DataFrame, columns: list[str]
    ) -> tuple[pl.DataFrame, list[pl.Expr], bool]:
        counted = people.group_by(columns).agg(pl.len().alias("\0people"))
        joined = classes.join(counted, on=columns, how="left").with_columns(pl.col("\0people").fill_null(0))
        fails, uncovered = [], False
        if self.policy.k_map is not None:
            fails.append(pl.col("\0people") < self.policy.k_map.k)
        if (bounds := self.policy.delta_presence) is not None:
            share = pl.col("\0subjects") / pl.col("\0people")
            fails.append(
                (pl.col("\0people") == 0) | (share < bounds.min - TOLERANCE) | (share > bounds.max + TOLERANCE)
            )
            if bounds.min > 0:
                uncovered = counted.join(classes, on=columns, how="anti").height > 0
        return joined, fails, uncovered

    def _value(self, marked: pl.DataFrame, node: tuple[int, ...], kept: pl.Series, suppressed: int) -> float:
        """The policy's metric, by its definition over rows."""
        rows, metric = marked.height, self.policy.metric
        if metric == "aecs":
            return rows / (len(kept) + (suppressed > 0))
        if metric == "discernibility":
            return float(sum(size * size for size in kept.to_list()) + rows * suppressed)
        gone, weights, values = pl.col("\0fails"), [], []
        for (name, hierarchy), level in zip(self.hierarchies.items(), node, strict=True):
            spec = self.policy.quasi_identifiers[name]
            label = f"{name}\0{level}"
            weights.append(spec.weight)
            if metric == "loss":
                shares = marked.select(pl.when(gone).then(1.0).otherwise(pl.col(f"{label}\0share")).sum()).item()
                least = rows / hierarchy.domain
                values.append((shares - least) / (rows - least) if hierarchy.domain > 1 else 0.0)
            elif metric == "precision":
                height = hierarchy.levels - 1
                values.append(((rows - suppressed) * (level / height if height else 0.0) + suppressed) / rows)
            else:
                finest = f"{name}\0{spec.least_level}"
                lost = (pl.col(f"{label}\0often") / pl.col(f"{finest}\0often")).log(2).sum()
                beside = marked.filter(gone).group_by(label).len().get_column("len")
                extra = (beside * (suppressed / beside).log(2)).sum() if suppressed else 0.0
                values.append(marked.select(lost).item() + extra)
        if metric == "loss":
            total = sum(weight * math.log1p(value) for weight, value in zip(weights, values, strict=True))
            return math.expm1(total / sum(weights))
        total = sum(weight * value for weight, value in zip(weights, values, strict=True))
        return total if metric == "entropy" else total / sum(weights)


def _shares(column: pl.Series) -> pl.DataFrame:
    """The share of each value, nulls included, in the whole frame."""
    counted = column.to_frame().group_by(column.name).agg(pl.len().alias("\0share"))
    return counted.with_columns(pl.col("\0share") / max(len(column), 1))


def _tree(spec: Sensitive) -> list[pl.DataFrame]:
    """Per level below the root what each value becomes (`value`, `node`)."""
    closeness = spec.t_closeness
    if closeness is None or closeness.hierarchy is None:
        return []
    table = read_hierarchy(closeness.hierarchy, closeness.separator)
    return [table.select(value="level_0", node=name) for name in table.columns[:-1]]


def _under(shown: pl.DataFrame, texts: pl.DataFrame, name: str, columns: list[str], share: str) -> pl.DataFrame:
    """The shares of values summed up to their nodes; nulls stay a branch of their own."""
    named = shown.join(texts, on=name, how="left").select(*columns, pl.col("node").alias(name), share)
    return named.group_by(*columns, name).agg(pl.col(share).sum())
