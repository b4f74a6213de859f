"""Money by programme, for partner companies."""

from __future__ import annotations

from datetime import date

import polars as pl

from merajut_assets.protected.summary import Entities, summary, whole

NO_DIVERSITY_CLASS = "none"


@summary("business", "programme_finance")
def programme_finance(entities: Entities, cut_off: date) -> pl.DataFrame:
    """Money by programme and year: approved budgets; approved orders and the invoices of all orders up to the
    cut-off date, in the year of the order and of the invoice."""
    orders = entities["purchase_order"].filter(pl.col("ordered_on") <= cut_off)
    figures = [
        _budgets(entities["budget_line"], cut_off),
        _orders(orders, entities["vendor"]),
        _invoices(entities["invoice"], orders, cut_off),
    ]
    keys = pl.concat([figure.select("programme_id", "fiscal_year") for figure in figures]).unique()
    table = entities["csr_programme"].select(
        "programme_id", pl.col("name").alias("programme_name"), "company", "objective"
    )
    table = table.join(keys, on="programme_id")
    for figure in [*figures, _institutions(entities["contract"], keys)]:
        table = table.join(figure, on=["programme_id", "fiscal_year"], how="left")
    amounts = ["budget_amount", "ordered_amount", "ordered_from_diverse_vendors", "invoiced_amount", "paid_amount"]
    return table.with_columns(pl.col("orphanages").fill_null(0), pl.col(amounts).fill_null(0.0)).sort(
        "programme_id", "fiscal_year"
    )


def _budgets(budgets: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    return (
        budgets.filter(pl.col("approval_status") == "approved", pl.col("fiscal_year") <= cut_off.year)
        .group_by("programme_id", whole(pl.col("fiscal_year")))
        .agg(pl.col("amount").sum().alias("budget_amount"))
    )


def _orders(orders: pl.DataFrame, vendors: pl.DataFrame) -> pl.DataFrame:
    is_diverse = pl.col("diversity_class").is_not_null() & (pl.col("diversity_class") != NO_DIVERSITY_CLASS)
    return (
        orders.filter(pl.col("approval_status") == "approved")
        .join(vendors.select("vendor_id", "diversity_class"), on="vendor_id", how="left")
        .group_by("programme_id", whole(pl.col("ordered_on").dt.year()).alias("fiscal_year"))
        .agg(
            pl.col("amount").sum().alias("ordered_amount"),
            pl.col("amount").filter(is_diverse).sum().alias("ordered_from_diverse_vendors"),
        )
    )


def _invoices(invoices: pl.DataFrame, orders: pl.DataFrame, cut_off: date) -> pl.DataFrame:
    return (
        invoices.filter(pl.col("invoiced_on") <= cut_off)
        .join(orders.select("purchase_order_id", "programme_id"), on="purchase_order_id")
        .group_by("programme_id", whole(pl.col("invoiced_on").dt.year()).alias("fiscal_year"))
        .agg(pl.col("amount").sum().alias("invoiced_amount"), pl.col("paid_amount").sum())
    )


def _institutions(contracts: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Institutions with a contract in force on some day of the year."""
    in_force = (pl.col("start_date").dt.year() <= pl.col("fiscal_year")) & (
        pl.col("end_date").is_null() | (pl.col("end_date").dt.year() >= pl.col("fiscal_year"))
    )
    return (
        contracts.join(keys, on="programme_id")
        .filter(in_force)
        .group_by("programme_id", "fiscal_year")
        .agg(whole(pl.col("orphanage_id").n_unique()).alias("orphanages"))
    )
