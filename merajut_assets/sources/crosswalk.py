"""From the school register's region codes (Dapodik) to those of the Ministry of Home Affairs.

The two code systems share nothing, so that regencies meet by name: first by the name without
case, punctuation and blanks, then by a short list of exceptions (misspelt, abbreviated and
renamed regencies), which is data. The province follows from the regency, which is how schools
of 34 provinces arrive in today's 38.

Pure functions over frames; where the frames come from is the caller's business.
"""

from __future__ import annotations

import polars as pl

EXACT_NAME = "exact name"
ALIAS = "alias"
UNMAPPED = "unmapped"

ALIAS_COLUMNS = ("dapodik_regency_code", "dapodik_name", "regency_code", "reason")
_OVERSEAS = "luarnegeri"


def name_key(name: pl.Expr) -> pl.Expr:
    """A regency's name as it is compared: kind (kabupaten or kota) and letters only.

    "KAB. BANDUNG" and "Kabupaten Bandung" agree; "Kota Bandung" is another regency."""
    lower = name.str.strip_chars().str.to_lowercase()
    spelt_out = lower.str.replace(r"^kab(\.\s*|\s+)", "kabupaten ").str.replace(
        r"^(kabupaten|kota)\s+(administrasi\s+|adm(\.\s*|\s+))", "${1} "
    )
    return spelt_out.str.replace_all(r"[^a-z]", "")


def map_regencies(register: pl.DataFrame, regencies: pl.DataFrame, aliases: pl.DataFrame) -> pl.DataFrame:
    """Each Dapodik regency of the register with its Kemendagri code.

    `register`: dapodik_regency_code (may be padded with blanks), regency_name; any number of rows
    a regency. `regencies`: code, name. `aliases`: the columns `ALIAS_COLUMNS`; an alias holds for
    its code and name together, so that a code that is given to another regency does not inherit it.

    Returns one row per Dapodik code, sorted: dapodik_regency_code, regency_code (null when
    unmapped), method (`exact name`, `alias` or `unmapped`), reason (of an alias, or why there is
    no region: overseas, no region of this name, or names of several regions under one code).

    ValueError: two regencies share a name, or an alias leads to a regency that does not exist."""
    targets = regencies.select(regency_code="code", key=name_key(pl.col("name")))
    if targets["key"].is_duplicated().any():
        raise ValueError("two regencies of the region list share a name: the crosswalk by name is ambiguous")
    if aliases.join(targets, on="regency_code", how="anti").height:
        raise ValueError("an alias of the crosswalk leads to a regency that the region list does not have")

    named = register.select(
        dapodik_regency_code=pl.col("dapodik_regency_code").str.strip_chars(), key=name_key(pl.col("regency_name"))
    ).unique()
    exceptions = aliases.select(
        pl.col("dapodik_regency_code").str.strip_chars(),
        key=name_key(pl.col("dapodik_name")),
        alias_code="regency_code",
        alias_reason="reason",
    )
    found = named.join(targets, on="key", how="left").join(exceptions, on=["dapodik_regency_code", "key"], how="left")
    candidate = pl.coalesce("alias_code", "regency_code")
    by_code = found.group_by("dapodik_regency_code").agg(
        candidates=candidate.drop_nulls().n_unique(),
        regency_code=candidate.drop_nulls().first(),
        alias_reason=pl.col("alias_reason").drop_nulls().first(),
        is_overseas=pl.col("key").str.contains(_OVERSEAS, literal=True).any(),
        unnamed=candidate.is_null().any(),
    )
    # A code that carries both a known and an unknown name is judged by nobody but a person.
    is_mapped = (pl.col("candidates") == 1) & ~pl.col("unnamed")
    return by_code.select(
        "dapodik_regency_code",
        regency_code=pl.when(is_mapped).then("regency_code"),
        method=pl.when(is_mapped & pl.col("alias_reason").is_not_null())
        .then(pl.lit(ALIAS))
        .when(is_mapped)
        .then(pl.lit(EXACT_NAME))
        .otherwise(pl.lit(UNMAPPED)),
        reason=pl.when(is_mapped)
        .then("alias_reason")
        .when(pl.col("is_overseas"))
        .then(pl.lit("overseas"))
        .when(pl.col("candidates") == 0)
        .then(pl.lit("no region of this name"))
        .otherwise(pl.lit("several names under one code")),
    ).sort("dapodik_regency_code")


def with_regency_code(schools: pl.DataFrame, mapping: pl.DataFrame) -> pl.DataFrame:
    """The schools, in their order, with regency_code and province_code (null when unmapped).

    `schools` needs dapodik_regency_code, padded or not; `mapping` is what `map_regencies` returns."""
    codes = mapping.select("dapodik_regency_code", "regency_code")
    return (
        schools.with_columns(pl.col("dapodik_regency_code").str.strip_chars())
        .join(codes, on="dapodik_regency_code", how="left", maintain_order="left")
        .with_columns(province_code=pl.col("regency_code").str.slice(0, 2))
    )
