"""Which forms of SQL the lineage of a query can be read from.

Here belongs what `sql` may meet in a qualified query: the parts of a query with what may be set in them, the operators,
and the functions whose value comes from their arguments and from nothing else. Whatever is not named here is refused:
a clause or a function that comes with a new version of a parser or of DuckDB must not be read past. What each form
does to a column is said in `sql`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlglot import exp

_SET_OPERATION = frozenset({"with_", "this", "expression", "distinct", "by_name", "order", "limit", "offset"})
_TOGETHER = frozenset({"expressions"})
_ALONE = frozenset({"this"})

# Part of a query -> what of it is read. Set in any other way, it is refused.
PARTS: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Select: frozenset(
        {"with_", "expressions", "distinct", "from_", "joins", "where", "group", "having", "qualify", "windows",
         "order", "limit", "offset"}
    ),
    exp.Union: _SET_OPERATION,
    exp.Except: _SET_OPERATION,
    exp.Intersect: _SET_OPERATION,
    exp.Subquery: frozenset({"this", "alias", "joins"}),
    exp.With: frozenset({"expressions", "recursive"}),
    exp.CTE: frozenset({"this", "alias", "materialized"}),
    exp.From: _ALONE,
    exp.Join: frozenset({"this", "on", "side", "kind", "method"}),
    exp.Table: frozenset({"this", "db", "catalog", "alias", "joins"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.Lateral: frozenset({"this", "alias"}),
    exp.Unnest: frozenset({"expressions", "alias"}),
    exp.Values: frozenset({"expressions", "alias"}),
    exp.Where: _ALONE,
    exp.Having: _ALONE,
    exp.Qualify: _ALONE,
    exp.Group: frozenset({"expressions", "all", "grouping_sets", "cube", "rollup"}),
    exp.GroupingSets: _TOGETHER,
    exp.Cube: _TOGETHER,
    exp.Rollup: _TOGETHER,
    exp.Distinct: frozenset({"expressions", "on"}),
    exp.Order: frozenset({"this", "expressions"}),
    exp.Ordered: frozenset({"this", "desc", "nulls_first"}),
    exp.Limit: frozenset({"expression"}),
    exp.Offset: frozenset({"expression"}),
    exp.Window: frozenset({"this", "partition_by", "order", "spec", "alias", "over"}),
    exp.WindowSpec: frozenset({"kind", "start", "start_side", "end", "end_side", "exclude"}),
    exp.Filter: frozenset({"this", "expression"}),
    exp.WithinGroup: frozenset({"this", "expression"}),
    exp.IgnoreNulls: _ALONE,
    exp.RespectNulls: _ALONE,
    exp.Lambda: frozenset({"this", "expressions", "colon"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Alias: frozenset({"this", "alias"}),
    exp.Star: frozenset(),
}  # fmt: skip

# What makes one value of others, all of which are read.
_VALUES: frozenset[type[exp.Expr]] = frozenset(
    {
        exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Var, exp.DataType, exp.DataTypeParam, exp.Interval,
        exp.Tuple, exp.Bracket, exp.Slice, exp.Between, exp.In, exp.Any, exp.All, exp.AtTimeZone, exp.Collate,
        exp.JSONKeyValue, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript, exp.JSONPathWildcard,
    }
)  # fmt: skip

_SYNTAX: frozenset[type[exp.Expr]] = frozenset(
    {
        exp.And, exp.Or, exp.Xor, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast, exp.TryCast, exp.Try,
        exp.Exists, exp.Extract, exp.Array, exp.Struct, exp.ToMap, exp.Map,
    }
)  # fmt: skip

# DuckDB's functions whose value comes from their arguments alone, as sqlglot types them.
_SCALARS: frozenset[type[exp.Expr]] = frozenset(
    {
        # numbers
        exp.Abs, exp.Acos, exp.Asin, exp.Atan, exp.Atan2, exp.Cbrt, exp.Ceil, exp.Cos, exp.Cot, exp.Degrees, exp.Exp,
        exp.Factorial, exp.Floor, exp.Greatest, exp.IsInf, exp.IsNan, exp.Least, exp.Ln, exp.Log, exp.Pi, exp.Pow,
        exp.Radians, exp.Round, exp.Sign, exp.Sin, exp.Sqrt, exp.Tan, exp.Trunc,
        # texts
        exp.Ascii, exp.Chr, exp.Concat, exp.ConcatWs, exp.Contains, exp.EndsWith, exp.Format, exp.FromBase64, exp.Hex,
        exp.JarowinklerSimilarity, exp.Left, exp.Length, exp.Levenshtein, exp.Lower, exp.MD5, exp.Overlay, exp.Pad,
        exp.RegexpExtract, exp.RegexpExtractAll, exp.RegexpFullMatch, exp.RegexpLike, exp.RegexpReplace,
        exp.RegexpSplit, exp.Repeat, exp.Replace, exp.Reverse, exp.Right, exp.SHA, exp.SHA2, exp.Split, exp.SplitPart,
        exp.StartsWith, exp.StrPosition, exp.Substring, exp.ToBase64, exp.Translate, exp.Trim, exp.Unhex, exp.Unicode,
        exp.Upper,
        # dates and times
        exp.DateAdd, exp.DateBin, exp.DateDiff, exp.DateFromParts, exp.DateTrunc, exp.Day, exp.Dayname, exp.DayOfMonth,
        exp.DayOfWeek, exp.DayOfWeekIso, exp.DayOfYear, exp.Hour, exp.LastDay, exp.Minute, exp.Month, exp.Monthname,
        exp.Quarter, exp.Second, exp.StrToTime, exp.TimeFromParts, exp.TimestampFromParts, exp.TimestampTrunc,
        exp.TimeToStr, exp.TimeToUnix, exp.ToDays, exp.UnixToTime, exp.Week, exp.WeekOfYear, exp.Year,
        # lists, maps, structs and JSON
        exp.ArrayAppend, exp.ArrayConcat, exp.ArrayContains, exp.ArrayContainsAll, exp.ArrayDistinct, exp.ArrayFilter,
        exp.ArrayIntersect, exp.ArrayMax, exp.ArrayMin, exp.ArrayOverlaps, exp.ArrayPosition, exp.ArrayPrepend,
        exp.ArrayReverse, exp.ArraySize, exp.ArraySlice, exp.ArrayToString, exp.Flatten, exp.GenerateSeries,
        exp.JSONArray, exp.JSONExtract, exp.JSONExtractScalar, exp.JSONKeys, exp.JSONObject, exp.JSONType,
        exp.MapFromEntries, exp.MapKeys, exp.ParseJSON, exp.Reduce, exp.SortArray, exp.StructExtract, exp.Transform,
        exp.Typeof,
    }
)  # fmt: skip
# The same of those that sqlglot knows by name only.
_NAMED_SCALARS = frozenset(
    {
        "date_part", "date_sub", "epoch_ms", "epoch_ns", "epoch_us", "even", "hash", "isfinite", "jaccard",
        "list_aggregate", "list_avg", "list_count", "list_element", "list_extract", "list_sum", "list_unique",
        "list_value", "map_entries", "map_values", "md5_number", "nfc_normalize", "strip_accents", "to_hours",
        "to_json", "to_minutes", "to_months", "to_seconds", "to_weeks", "to_years", "try_strptime", "weekday",
    }
)  # fmt: skip

# Aggregate and window functions: those that sqlglot knows as such and DuckDB has, then those known by name only.
_AGGREGATES: frozenset[type[exp.Expr]] = frozenset(
    {
        exp.AnyValue, exp.ApproxDistinct, exp.ApproxQuantile, exp.ApproxTopK, exp.ArgMax, exp.ArgMin, exp.ArrayAgg,
        exp.Avg, exp.BitwiseAndAgg, exp.BitwiseOrAgg, exp.BitwiseXorAgg, exp.Corr, exp.Count, exp.CountIf,
        exp.CovarPop, exp.CovarSamp, exp.CumeDist, exp.DenseRank, exp.First, exp.FirstValue, exp.GroupConcat,
        exp.Grouping, exp.Kurtosis, exp.Lag, exp.Last, exp.LastValue, exp.Lead, exp.LogicalAnd, exp.LogicalOr, exp.Max,
        exp.Median, exp.Min, exp.Mode, exp.NthValue, exp.Ntile, exp.PercentileCont, exp.PercentileDisc,
        exp.PercentRank, exp.Quantile, exp.Rank, exp.RegrAvgx, exp.RegrAvgy, exp.RegrCount, exp.RegrIntercept,
        exp.RegrR2, exp.RegrSlope, exp.RegrSxx, exp.RegrSxy, exp.RegrSyy, exp.RowNumber, exp.Skewness, exp.Stddev,
        exp.StddevPop, exp.StddevSamp, exp.Sum, exp.Variance, exp.VariancePop,
    }
)  # fmt: skip
_NAMED_AGGREGATES = frozenset(
    {
        "arbitrary", "bitstring_agg", "count_star", "entropy", "favg", "fsum", "geomean", "histogram", "kahan_sum",
        "kurtosis_pop", "mad", "mean", "product", "sem", "sumkahan", "weighted_avg",
    }
)  # fmt: skip

_JOINS = frozenset({"", "INNER", "OUTER", "CROSS", "SEMI", "ANTI"})
_JOIN_METHODS = frozenset({"", "ASOF"})
# Where a name stands that is no value.
_NAMES: Mapping[type[exp.Expr], frozenset[str]] = {
    exp.Alias: frozenset({"alias"}),
    exp.Column: frozenset({"this", "table"}),
    exp.Dot: frozenset({"expression"}),
    exp.Lambda: frozenset({"expressions"}),
    exp.PropertyEQ: frozenset({"this"}),
    exp.Table: frozenset({"this", "db", "catalog"}),
    exp.TableAlias: frozenset({"this", "columns"}),
    exp.Window: frozenset({"this", "alias"}),
}


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a function makes one value of many rows, or looks at the rows around one."""
    return type(node) in _AGGREGATES or (isinstance(node, exp.Anonymous) and node.name.lower() in _NAMED_AGGREGATES)


def unknown_forms(query: exp.Expr) -> Iterator[str]:
    """What in a qualified query nobody can follow, in words without anything that the query quotes."""
    # A table function is an origin that nobody knows, whatever it is given.
    for node in query.walk(prune=lambda node: isinstance(node, exp.Func) and isinstance(node.parent, exp.Table)):
        if isinstance(node, exp.Func) and isinstance(node.parent, exp.Table):
            continue
        fault = _function_fault(node) if isinstance(node, exp.Func) and type(node) not in PARTS else _form_fault(node)
        if fault:
            yield fault


def _function_fault(node: exp.Func) -> str | None:
    if isinstance(node, exp.Anonymous):
        return None if node.name.lower() in _NAMED_SCALARS | _NAMED_AGGREGATES else f"the function {node.name.lower()}"
    if type(node) in _SYNTAX | _SCALARS | _AGGREGATES | _VALUES:
        return None
    return f"the function {node.sql_name().lower()}"


def _form_fault(node: exp.Expr) -> str | None:
    name = node.key.replace("_", " ")
    if type(node) in PARTS:
        others = sorted(key for key, value in node.args.items() if value and key not in PARTS[type(node)])
        return f"{others[0].rstrip('_')} of {name}" if others else _misplaced(node)
    if type(node) in _VALUES or (isinstance(node, (exp.Binary, exp.Unary)) and not isinstance(node, exp.Query)):
        return _misplaced(node)
    return name


def _misplaced(node: exp.Expr) -> str | None:
    """What stands where it means something else than the reader takes it for."""
    if isinstance(node, exp.Join):
        kind, method = (str(node.args.get(part) or "").upper() for part in ("kind", "method"))
        if kind not in _JOINS or method not in _JOIN_METHODS:
            return f"a {(method or kind).lower()} join"
    elif isinstance(node, exp.Star):
        return None if isinstance(node.parent, (exp.Count, exp.Select)) else "a star for all columns in an expression"
    elif isinstance(node, exp.Lambda) and not node.args.get("colon"):
        # With an arrow it may as well be a look into a JSON value, whose column would be taken for a parameter.
        return "an arrow in the arguments of a function; write a lambda as `lambda x: …`, and JSON by json_extract"
    elif isinstance(node, exp.Dot) and (
        isinstance(node.this, exp.Identifier) or not isinstance(node.expression, exp.Identifier)
    ):
        return "a function called with a dot"
    elif isinstance(node, exp.Identifier) and not _is_a_name(node):
        return "a name that stands for no column"
    return None


def _is_a_name(node: exp.Identifier) -> bool:
    above = node.parent
    if above is not None and node.arg_key in _NAMES.get(type(above), ()):
        return True
    while above is not None and not isinstance(above, exp.Query):
        if isinstance(above, exp.Lambda) and node.name in {one.name for one in above.expressions}:
            return True
        above = above.parent
    return False
