"""Enterprise resource planning: cost centres, budgets, procurement and contracts. XML, one element per record."""

from __future__ import annotations

from datetime import date, datetime

import pandera.polars as pa

from merajut_assets.contracts.base import (
    DataOrigin,
    LegalBasis,
    SourceFormat,
    System,
    in_order,
    operational,
    public,
    table,
)

ERP = System(
    name="erp",
    description="Finance and procurement system, XML export",
    owner="team:finance",
    format=SourceFormat.XML,
    location="sources/erp/{source}.xml",
    jurisdiction="ID",
    legal_basis=LegalBasis.NOT_APPLICABLE,
    data_origin=DataOrigin.GENERATED,
    purpose="Control of CSR spending",
    retention_days=10 * 365,
    freshness_hours=24,
    options=(("record", "record"),),
)

APPROVALS = ["draft", "submitted", "approved", "rejected"]


@table(ERP, "cost_centres", modified_column="modified_at", drops=("name",))
class CostCentres(pa.DataFrameModel):
    """Cost centres of CSR programmes."""

    cost_centre_id: str = operational("Cost centre", key=True)
    programme_id: str = operational("Programme", required=True, references="crm.csr_programmes.programme_id")
    category: str = public(
        "Category", required=True, isin=["programme", "volunteer_time", "community_investment", "impact_measurement"]
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(ERP, "budgets", modified_column="modified_at", drops=("approval_levels",))
class Budgets(pa.DataFrameModel):
    """Yearly budget of a cost centre with its approval."""

    budget_id: str = operational("Budget line", key=True)
    cost_centre_id: str = operational(
        "Cost centre", required=True, nullable=False, references="erp.cost_centres.cost_centre_id"
    )
    fiscal_year: int = public("Fiscal year", required=True, ge=2015, le=2100)
    amount: float = public("Budget", unit="IDR", required=True, nullable=False, ge=0.0)
    approval_status: str = operational("Approval", required=True, isin=APPROVALS)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(ERP, "vendors", modified_column="modified_at")
class Vendors(pa.DataFrameModel):
    """Suppliers."""

    vendor_id: str = operational("Supplier number", key=True)
    name: str = public("Name of the company", required=True)
    regency_code: str = public("District of the seat, Kemendagri code", str_matches=r"^\d{2}\.\d{2}$")
    diversity_class: str = public(
        "Supplier-diversity class",
        required=True,
        isin=["none", "women_owned", "social_enterprise", "disability_owned", "small_local"],
    )
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(ERP, "purchase_orders", modified_column="modified_at")
class PurchaseOrders(pa.DataFrameModel):
    """Purchase orders."""

    purchase_order_id: str = operational("Order number", key=True)
    cost_centre_id: str = operational(
        "Cost centre", required=True, nullable=False, references="erp.cost_centres.cost_centre_id"
    )
    vendor_id: str = operational("Supplier", required=True, nullable=False, references="erp.vendors.vendor_id")
    orphanage_id: str = operational("Institution supplied", references="panti.orphanages.orphanage_id")
    ordered_on: date = operational("Date of the order", required=True, nullable=False)
    amount: float = operational("Amount", unit="IDR", required=True, nullable=False, gt=0.0)
    approval_status: str = operational("Approval", required=True, isin=APPROVALS)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(ERP, "invoices", modified_column="modified_at")
class Invoices(pa.DataFrameModel):
    """Invoices received."""

    invoice_id: str = operational("Invoice number", key=True)
    purchase_order_id: str = operational(
        "Order", required=True, nullable=False, references="erp.purchase_orders.purchase_order_id"
    )
    invoiced_on: date = operational("Date of the invoice", required=True, nullable=False)
    due_on: date = operational("Due date", required=True)
    amount: float = operational("Amount", unit="IDR", required=True, nullable=False, gt=0.0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    due_after_invoice = in_order("due_after_invoice", "invoiced_on", "due_on")


@table(ERP, "payments", modified_column="modified_at")
class Payments(pa.DataFrameModel):
    """Payments of invoices."""

    payment_id: str = operational("Payment number", key=True)
    invoice_id: str = operational("Invoice", required=True, nullable=False, references="erp.invoices.invoice_id")
    paid_on: date = operational("Date of the payment", required=True, nullable=False)
    amount: float = operational("Amount", unit="IDR", required=True, nullable=False, gt=0.0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)


@table(ERP, "contracts", modified_column="modified_at")
class Contracts(pa.DataFrameModel):
    """Contracts that give an institution a part in a programme."""

    contract_id: str = operational("Contract number", key=True)
    programme_id: str = operational(
        "Programme", required=True, nullable=False, references="crm.csr_programmes.programme_id"
    )
    orphanage_id: str = operational(
        "Institution", required=True, nullable=False, references="panti.orphanages.orphanage_id"
    )
    start_date: date = operational("First day", required=True, nullable=False)
    end_date: date = operational("Last day")
    amount: float = operational("Amount", unit="IDR", required=True, ge=0.0)
    modified_at: datetime = operational("Last change in the source, UTC", required=True, nullable=False)

    end_after_start = in_order("end_after_start", "start_date", "end_date")
