"""Whether the SQL of a model shows figures about people in a way that a test can judge.

A test looks at numbers. Of `10 * n`, of `n + 5`, or of a number that stands in the column of a flag it learns nothing.
Here belongs which expressions are believed: what is shown only from the least number of people on, and a flag that
tells no more than that. Everything else is refused with the reason. Which columns are asked about is told by
`disclosure`; what follows for the proof, by `sql`.

A number of people is `count(distinct …)` of one column of one dataset, each row of which is in one group. So no
people are in two figures of a column, and two figures never differ by a few people; that a stakeholder gets no two
such columns of one dataset, of which the difference tells what either withholds, is judged here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from merajut_assets.lineage.disclosure import Judged

# The asset that a table is stored for, if it is a dataset, and the least number of people that may be shown of it.
Dataset = tuple[str, int]
DatasetOf = Callable[[exp.Table], Dataset | None]

# What a query may consist of in which people are counted, and each from which it reads them: anything more could put
# a person into two groups.
_PLAIN = {"expressions", "from_", "where", "with_"}
_COUNTING = {*_PLAIN, "group"}
_PLAIN_TABLE = {"this", "db", "catalog", "alias"}
_TOTALS = (exp.Rollup, exp.Cube, exp.GroupingSets)
_MULTIPLIES = (exp.UDTF, exp.Explode, exp.Query)
_NOT_ONE_ROW = (exp.AggFunc, exp.Window, exp.Query)
# The functions of which it is certain that they look at one row. Of others, some sum up under a name that nobody knows.
_ROW_BY_ROW = (exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast, exp.Round, exp.And, exp.Or)
# With more digits a share could be turned back into the two numbers that it is made of.
MOST_SHARE_DIGITS = 2

_Place = tuple[tuple[int, str], ...]  # the queries and tables in them by which an expression was reached


@dataclass(frozen=True)
class Count:
    """A number of people. `place` and `expression` tell one from others of the same row; `cells`: what it counts, in
    words that are the same wherever it is counted."""

    dataset: str
    least: int
    cells: tuple[str, ...]
    place: _Place = field(compare=False)

    @property
    def row(self) -> tuple[_Place, tuple[str, ...]]:
        return self.place, self.cells


@dataclass(frozen=True)
class Shown:
    """What a model's SQL does with its judged columns. `faults`: by column, why it is not believed; `counts`: by
    column, the numbers of people that it shows."""

    faults: Mapping[str, str]
    counts: Mapping[str, frozenset[Count]]


class _Refused(ValueError):
    """An expression is none of those that are believed. Says what it is."""


@dataclass(frozen=True)
class _Leaf:
    """An expression at the place where it is computed: what a column is in one part of a union."""

    node: exp.Expr
    scope: Scope
    place: _Place = ()

    def at(self, node: exp.Expr) -> _Leaf:
        return _Leaf(node, self.scope, self.place)


def shown_by(scope: Scope, judged: Judged, dataset_of: DatasetOf) -> Shown:
    """Judge the SQL of a model: the scope of its qualified query."""
    reader = _Reader(dataset_of)
    faults: dict[str, str] = {}
    counts: dict[str, frozenset[Count]] = {}
    for column in sorted(judged.columns):
        try:
            leaves = list(_projections(scope, column, ()))
            found = [reader.figure(leaf) for leaf in leaves if column not in judged.flags]
            for leaf in leaves:
                if column in judged.flags:
                    reader.flag(leaf)
            counts[column] = frozenset().union(*found)
        except _Refused as refused:
            faults[column] = str(refused)
    return Shown(faults, counts)


def differences(shown: Mapping[str, Mapping[str, Iterable[Count]]]) -> dict[tuple[str, str], str]:
    """By asset and column, why a number of people must not be shown beside another one of the same dataset. `shown`: by
    asset and column, the numbers that it shows."""
    by_dataset: dict[str, dict[tuple[str, ...], list[tuple[str, str]]]] = {}
    for asset, columns in shown.items():
        for column, counts in columns.items():
            for one in counts:
                by_dataset.setdefault(one.dataset, {}).setdefault(one.cells, []).append((asset, column))
    found: dict[tuple[str, str], str] = {}
    for dataset, ways in by_dataset.items():
        for cells, places in ways.items():
            others = sorted({f"{asset}.{column}" for other in ways if other != cells for asset, column in ways[other]})
            if others:
                found |= dict.fromkeys(
                    places,
                    f"counts the people of {dataset} by other groups or conditions than {', '.join(others)}, and the "
                    "difference of two figures tells what each withholds; show one of them, or a noisy figure",
                )
    return found


# ── following columns ────────────────────────────────────────────────────────────────────


def _projections(scope: Scope, column: str, place: _Place) -> Iterator[_Leaf]:
    """What a column of a query is, once for each part of a union."""
    query = scope.expression
    if isinstance(query, exp.Select):
        named = [one for one in query.selects if one.alias_or_name == column]
        if len(named) != 1:
            raise _Refused("cannot be followed to where it is computed")
        yield from _leaves(_Leaf(named[0], scope, place))
        return
    if not isinstance(query, exp.Union) or query.args.get("by_name"):
        raise _Refused("cannot be followed to where it is computed")
    names = query.named_selects
    if names.count(column) != 1:
        raise _Refused("cannot be followed to where it is computed")
    for part in scope.set_operation_scopes:
        within = part.expression
        selected = within.named_selects if isinstance(within, exp.Query) else []
        if len(selected) != len(names):
            raise _Refused("cannot be followed to where it is computed")
        yield from _projections(part, selected[names.index(column)], place)


def _leaves(leaf: _Leaf) -> Iterator[_Leaf]:
    """An expression where it is computed: columns that are merely taken over, brackets, and casts between whole numbers
    are gone through."""
    node = leaf.node
    while isinstance(node, (exp.Alias, exp.Paren)) or (
        isinstance(node, exp.Cast) and node.to.this in exp.DataType.INTEGER_TYPES
    ):
        node = node.this
    source = leaf.scope.sources.get(node.table) if isinstance(node, exp.Column) else None
    if isinstance(source, Scope):
        place = (*leaf.place, (id(leaf.scope.expression), node.args["table"].name))
        yield from _projections(source, node.name, place)
    else:
        yield leaf.at(node)


# ── what is believed ─────────────────────────────────────────────────────────────────────


class _Reader:
    def __init__(self, dataset_of: DatasetOf) -> None:
        self._dataset_of = dataset_of

    def figure(self, leaf: _Leaf) -> frozenset[Count]:
        """The numbers of people that a figure shows. Raises _Refused."""
        if self._is_plain(leaf):
            return frozenset()  # nothing is counted here, so that there is nothing to withhold
        if isinstance(leaf.node, exp.Case):
            return self._guarded(leaf, leaf.node)
        found = self._count(leaf)
        if found is None:
            raise _Refused(
                "is neither a number of distinct people nor shown only from the least number on; "
                "make it with at_least_minimum or share_of_people"
            )
        raise _Refused(
            f"is a number of people that is shown however small; make it with at_least_minimum, from {found.least} on"
        )

    def flag(self, leaf: _Leaf) -> None:
        """Accept a flag that tells whether a number of people is below the least one, and no more. Raises _Refused."""
        node = leaf.node
        if self._is_plain(leaf):
            return
        if isinstance(node, exp.Coalesce) and isinstance(node.this, exp.LT) and node.expressions:
            (otherwise, *more), compared = node.expressions, node.this
            found = self._only_count(leaf.at(compared.this))
            is_withheld_without = isinstance(otherwise, exp.Boolean) and otherwise.this and not more
            if found is not None and is_withheld_without and _whole_number(compared.expression) == found.least:
                return
        raise _Refused(
            "is a flag and tells more than whether fewer people than the least number are counted; "
            "make it with is_below_minimum"
        )

    def _guarded(self, leaf: _Leaf, case: exp.Case) -> frozenset[Count]:
        """The numbers shown by CASE WHEN … THEN … END. Raises _Refused unless none below the least number, and no
        difference of two, is."""
        (branch, *more), otherwise = case.args["ifs"], case.args.get("default")
        if case.this is not None or more or not (otherwise is None or isinstance(otherwise, exp.Null)):
            raise _Refused("is a CASE of several branches; show a figure in one and nothing otherwise")
        large: set[object] = set()
        apart: set[tuple[object, object]] = set()
        for condition in branch.this.flatten() if isinstance(branch.this, exp.And) else [branch.this]:
            numbers = self._compared(leaf.at(condition.unnest()))
            if len(numbers) == 1:
                large.add(numbers[0].row)
            else:
                apart.add((numbers[0].row, numbers[1].row))
        figure = leaf.at(branch.args["true"])
        counts = {one.row: one for one in self._counts_in(figure)}
        for row in counts:
            if row not in large and not any(larger == row and smaller in large for larger, smaller in apart):
                raise _Refused("shows a number of people that its condition does not compare with the least number")
        if len(counts) == 1:
            return frozenset(counts.values())
        if len(counts) == 2 and ({tuple(counts), tuple(reversed(counts))} & apart) and self._is_share(figure):
            return frozenset()  # a share tells neither of the two
        raise _Refused(
            "shows something else than one number of people, or the rounded share of two that differ by the least "
            "number; make it with at_least_minimum or share_of_people"
        )

    def _is_share(self, figure: _Leaf) -> bool:
        """Whether it is one number of people divided by another and rounded, and nothing else is in it: of a share that
        was scaled before, more digits are left."""
        node = figure.node
        digits = _whole_number(node.args.get("decimals")) if isinstance(node, exp.Round) else None
        if digits is None or digits > MOST_SHARE_DIGITS or not isinstance(node.this, exp.Div):
            return False
        part, whole = node.this.left.unnest(), node.this.right.unnest()
        part = part.this if isinstance(part, exp.Cast) else part
        whole = whole.this if isinstance(whole, exp.Nullif) else whole
        return all(self._only_count(figure.at(one)) is not None for one in (part, whole))

    def _compared(self, condition: _Leaf) -> tuple[Count, ...]:
        """The number, or the two whose difference, a condition holds against the least number. Raises _Refused."""
        node = condition.node
        if isinstance(node, exp.GTE):
            (leaf, *others) = _leaves(condition.at(node.this))
            parts = [leaf.at(leaf.node.left), leaf.at(leaf.node.right)] if isinstance(leaf.node, exp.Sub) else [leaf]
            numbers = tuple(one for part in parts if (one := self._only_count(part)) is not None)
            bound = _whole_number(node.expression)
            if (
                not others
                and len(numbers) == len(parts)
                and bound is not None
                and all(bound >= one.least for one in numbers)
            ):
                return numbers
        raise _Refused("is shown on another condition than that the number of people is at least the least one")

    def _counts_in(self, leaf: _Leaf) -> Iterator[Count]:
        """The numbers of people that an expression is computed from, and it is computed from nothing else."""
        for one in _leaves(leaf):
            found = self._count(one)
            if found is not None:
                yield found
            elif isinstance(one.node, (exp.Column, exp.Star, *_NOT_ONE_ROW)):
                raise _Refused("is computed from something else than numbers of people")
            else:
                for child in one.node.iter_expressions():
                    yield from self._counts_in(one.at(child))

    def _only_count(self, leaf: _Leaf) -> Count | None:
        leaves = list(_leaves(leaf))
        return self._count(leaves[0]) if len(leaves) == 1 else None

    def _count(self, leaf: _Leaf) -> Count | None:
        """The number of people that an expression is; None for any other. Raises _Refused when a person could be in
        more than one group of it."""
        node = leaf.node
        counted = node.this if isinstance(node, exp.Filter) else node
        if not isinstance(counted, exp.Count) or not isinstance(counted.this, exp.Distinct):
            return None
        what = counted.this.expressions
        if len(what) != 1 or not isinstance(what[0], exp.Column) or counted.this.args.get("on"):
            raise _Refused("counts something else than the distinct values of one column")
        words = [node.sql(), *_groups(leaf.scope.expression)]
        dataset = self._dataset(what[0], leaf.scope, _COUNTING, words)
        return Count(*dataset, cells=tuple(words), place=leaf.place)

    def _dataset(self, column: exp.Column, scope: Scope, may_have: set[str], words: list[str]) -> Dataset:
        """The one dataset from which people are counted, a row at a time. Adds to `words` what decides which."""
        query = scope.expression
        has = {name for name, value in query.args.items() if value}
        parts = [*query.expressions, *(query.args[name] for name in ("where", "group") if query.args.get(name))]
        multiplies = any(one.find(*_MULTIPLIES) for one in parts)
        if not isinstance(query, exp.Select) or "from_" not in has or not has <= may_have or multiplies:
            raise _Refused("counts people who may be in several groups: over joins, unions or unfolded rows")
        table = query.args["from_"].this
        source = scope.sources.get(column.table)
        alias = table.args.get("alias")
        is_plain = {name for name, value in table.args.items() if value} <= _PLAIN_TABLE
        if source is None or not is_plain or table.alias_or_name != column.table or (alias and alias.columns):
            raise _Refused("counts people who may be in several groups: over joins, unions or unfolded rows")
        words += [query.args["where"].sql()] if query.args.get("where") else []
        if isinstance(source, Scope):
            return self._dataset_within(column, source, words)
        words.append(exp.table_name(source))
        dataset = self._dataset_of(source)
        if dataset is None:
            raise _Refused("counts rows of something else than a dataset of people; count over the dataset itself")
        return dataset

    def _dataset_within(self, column: exp.Column, scope: Scope, words: list[str]) -> Dataset:
        selects = scope.expression.selects if isinstance(scope.expression, exp.Select) else []
        named = [one.unalias() for one in selects if one.alias_or_name == column.name]
        is_computed = any(one.find(*_NOT_ONE_ROW) for one in selects)
        if len(named) != 1 or not isinstance(named[0], exp.Column) or is_computed:
            raise _Refused("counts something else than the distinct values of a column of a dataset")
        words += sorted(one.sql() for one in selects)
        return self._dataset(named[0], scope, _PLAIN, words)

    def _is_plain(self, leaf: _Leaf) -> bool:
        """Whether nothing is counted or summed up in an expression, wherever its columns are computed."""
        functions = leaf.node.find_all(exp.Func)
        if leaf.node.find(*_NOT_ONE_ROW) or any(not isinstance(one, _ROW_BY_ROW) for one in functions):
            return False
        return all(
            one.node is column or self._is_plain(one)
            for column in leaf.node.find_all(exp.Column)
            for one in _leaves(leaf.at(column))
        )


def _groups(query: exp.Expr) -> list[str]:
    """What the rows of a query are grouped by. Raises _Refused when some groups are totals of others."""
    group = query.args.get("group")
    if group is None or not isinstance(query, exp.Select):
        return []
    if group.find(*_TOTALS):
        raise _Refused("counts people by groups of which some are the totals of others")
    chosen = [one.unalias() for one in query.selects if not one.find(exp.AggFunc)]
    return sorted(one.sql() for one in (chosen if group.args.get("all") else group.expressions))


def _whole_number(node: exp.Expr | None) -> int | None:
    return int(node.this) if isinstance(node, exp.Literal) and node.is_int else None
