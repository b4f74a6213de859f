"""What the engine takes in: which type a column may have in its role, asked in one place before any work is done.

Belongs here: the refusal of columns that are missing or that the engine cannot compare, sort or write as text, for
whoever takes a frame (`anonymise`, `verify_certificate`, `assess_risk`, tables beside). Does not belong here: whether
values fit their hierarchy (`hierarchy`) or model (`counting`), and what the verifier reads, which shares no code with
the engine (`verify_database`).

Errors name column, type and remedy, never a value; the name of a type leaves out its parameters, because those of an
Enum are its categories.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from merajut_assets.privacy.policy import DataError, Policy

# The text of a time of day has no fractions of a second.
_WITHOUT_TEXT = (pl.Binary, pl.Duration, pl.Time)


def type_name(dtype: pl.DataType) -> str:
    """The type without its parameters."""
    return str(dtype.base_type())


def require_columns(frame: pl.DataFrame, names: Sequence[str], what: str = "the frame") -> None:
    """Raises DataError unless all `names` are columns of `frame`."""
    if missing := [name for name in dict.fromkeys(names) if name not in frame.columns]:
        raise DataError(f"{what} lacks column(s) {', '.join(missing)}")


def require_scalars(frame: pl.DataFrame, names: Sequence[str], what: str = "the frame") -> None:
    """Raises DataError unless all `names` are columns of single values that can be compared and sorted."""
    require_columns(frame, names, what)
    for name in names:
        dtype = frame.schema[name]
        if dtype.is_nested():
            raise DataError(
                f"{what}: column {name!r} has a nested type ({type_name(dtype)}), and a scalar type is needed; make "
                "columns of single values of it, or leave it out"
            )
        if dtype == pl.Object:
            raise DataError(
                f"{what}: column {name!r} has type {type_name(dtype)}, whose values cannot be compared; give it the "
                "type of its values, such as String"
            )


def require_texts(frame: pl.DataFrame, names: Sequence[str], what: str = "the frame") -> None:
    """Raises DataError unless all `names` are columns of single values that can be written as text."""
    require_scalars(frame, names, what)
    for name in names:
        if (dtype := frame.schema[name]) in _WITHOUT_TEXT:
            raise DataError(
                f"{what}: column {name!r} has type {type_name(dtype)}, which is not written as text whole, and a text "
                "of each value is needed here; turn it into a number or a text"
            )


def with_one_zero(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The frame with 0.0 instead of -0.0 in the columns `names`: they are equal, but not as text."""
    floats = [pl.col(name) for name in names if frame.schema[name].is_float()]
    # Adding 0.0 would be optimised away.
    return frame.with_columns(pl.when(column == 0).then(0.0).otherwise(column).name.keep() for column in floats)


def taken(frame: pl.DataFrame, policy: Policy, *, is_compared_as_text: bool = False) -> pl.DataFrame:
    """The frame as it is to be anonymised under `policy`: fit for it, and with one zero.

    `is_compared_as_text`: what other releases or tables show is compared with it as text. Raises DataError when it
    lacks a column, a column has a type that its role cannot have or holds NaN or infinity, or a subject is null.
    """
    subject = [policy.subject] if policy.subject is not None else []
    own = [*policy.exact, *policy.sensitive, *subject]
    named = [*policy.quasi_identifiers, *own]
    if missing := [name for name in named if name not in frame.columns]:
        raise DataError(f"the frame lacks column(s) {', '.join(missing)} that the policy names")
    if "" in frame.columns:
        raise DataError(f"column {frame.columns.index('') + 1} of the frame has no name; name it, or take it out")
    for name in subject:
        if frame.get_column(name).null_count():
            raise DataError(f"subject column {name!r} holds nulls; a row without a subject cannot be counted towards k")
    # Its values are looked up by their text in a hierarchy, or in an order that the policy lists.
    looked_up = [
        name
        for name, rule in policy.sensitive.items()
        if (close := rule.t_closeness) is not None and (close.hierarchy is not None or close.order is not None)
    ]
    require_texts(frame, [*policy.quasi_identifiers, *looked_up, *(own if is_compared_as_text else [])])
    require_scalars(frame, own)
    for name in own:
        # A value that is no number would count as one more value towards l, or as one more subject.
        if frame.schema[name].is_float() and not frame.get_column(name).is_finite().all():
            raise DataError(f"column {name!r} holds NaN or infinity; replace them by null or quarantine the rows")
    return with_one_zero(frame, own)
