"""Enum and Categorical columns, whose lists of categories tell more than their rows.

A Parquet or Arrow file holds every category of a column, whether a row has it or not. A release that carried an Enum of
its input would name the values of suppressed rows. Belongs here: making text of such columns, and keeping the order
that an Enum gave its values. Does not belong here: quasi-identifiers, of which other texts are published
(`publishing`).
"""

from __future__ import annotations

import polars as pl
from polars.datatypes import DataTypeClass

from merajut_assets.privacy.policy import Policy


def without_categories(frame: pl.DataFrame, policy: Policy) -> tuple[pl.DataFrame, Policy]:
    """The frame with String in place of every Enum and Categorical that is published as it is, nested ones included,
    and the policy with the order of values written out where an Enum gave it."""
    plain = {name: _plain(dtype) for name, dtype in frame.schema.items() if name not in policy.quasi_identifiers}
    listed = {name: dtype for name, dtype in plain.items() if dtype != frame.schema[name]}
    ordered = dict(policy.sensitive)
    for name, rule in policy.sensitive.items():
        closeness = rule.t_closeness
        is_listed = frame.schema.get(name) in (pl.Enum, pl.Categorical)
        if is_listed and closeness is not None and closeness.kind == "ordered" and closeness.order is None:
            order = tuple(frame.get_column(name).unique().sort().drop_nulls().cast(pl.String))
            if len(order) > 1:
                ordered[name] = rule.model_copy(update={"t_closeness": closeness.model_copy(update={"order": order})})
    return frame.with_columns(pl.col(name).cast(dtype) for name, dtype in listed.items()), policy.model_copy(
        update={"sensitive": ordered}
    )


def _plain(dtype: DataTypeClass | pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_plain(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_plain(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, _plain(field.dtype)) for field in dtype.fields])
    if dtype in (pl.Enum, pl.Categorical):
        return pl.String()
    return dtype if isinstance(dtype, pl.DataType) else dtype()
