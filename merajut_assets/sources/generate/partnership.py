"""Partnerships and their money: system crm and system erp."""

from __future__ import annotations

import numpy as np
import polars as pl

from merajut_assets.contracts.erp import APPROVALS
from merajut_assets.sources.generate import people
from merajut_assets.sources.generate.columns import (
    Floats,
    Integers,
    between,
    dates,
    draw,
    flags,
    joined,
    keys,
    moments,
    numbered,
    only,
    pick,
    table,
)
from merajut_assets.sources.generate.plan import Block
from merajut_assets.sources.generate.shared import (
    COMPANIES,
    NO_PROGRAMME,
    OBJECTIVES,
    Programmes,
    Shared,
    draw_regions,
)

MANAGERS_PER_COMPANY = 3
SPONSORS_PER_COMPANY = 2
ORDERS_PER_CHILD = 0.1
_LEAST_ENGAGEMENTS = 300
_ENGAGEMENTS_PER_CHILD = 0.05
_CENTRES_PER_PROGRAMME = 3
_CATEGORIES = ("programme", "volunteer_time", "community_investment", "impact_measurement")
_AREAS = ("education", "health", "environment", "employee_volunteering")
_DEPARTMENTS = ("human_resources", "operations", "legal", "finance")
_LEVELS = ("c_level", "vice_president", "director")
_TITLES = ("Direktur Utama", "Wakil Presiden", "Direktur")
_INTERACTIONS = ("meeting", "call", "email", "site_visit", "event")
_THEMES = ("Beasiswa Anak Asuh", "Klinik Keliling", "Asrama Aman", "Pelatihan Kerja")
_NEXT_STEPS = (
    "Kirim laporan triwulan kepada ",
    "Jadwalkan kunjungan bersama ",
    "Tunggu persetujuan anggaran dari ",
    "Undang ke acara tahunan: ",
)


def crm_tables(shared: Shared) -> dict[str, pl.DataFrame]:
    """Rows of all tables of the crm."""
    managers, sponsors = _contacts(shared, "csr_managers"), _contacts(shared, "executive_sponsors")
    return {
        "csr_managers": managers,
        "executive_sponsors": sponsors,
        "csr_programmes": _programmes(shared),
        "engagement_history": _engagements(shared, managers, sponsors),
    }


def _contacts(shared: Shared, name: str) -> pl.DataFrame:
    generator = shared.parameters.stream(f"crm.{name}")
    is_manager = name == "csr_managers"
    company = np.repeat(np.arange(len(COMPANIES)), MANAGERS_PER_COMPANY if is_manager else SPONSORS_PER_COMPANY)
    count = len(company)
    full_name = people.full_names(generator, flags(generator, 0.5, count))
    key = keys("CM-" if is_manager else "CE-", 1, count, 5)
    number = np.arange(count) + (1 if is_manager else 1000)
    mail = people.mail_addresses(generator, full_name, number)
    changed = moments(generator, shared.parameters.last_day - between(generator, 5, 700, count))
    if is_manager:
        return table(
            contact_id=key,
            name=full_name,
            email=mail,
            phone=people.phones(generator, count),
            company=pick(COMPANIES, company),
            department=pick(_DEPARTMENTS, generator.integers(0, len(_DEPARTMENTS), count)),
            responsibility_area=pick(_AREAS, generator.integers(0, len(_AREAS), count)),
            modified_at=changed,
        )
    level = draw(generator, (0.3, 0.35, 0.35), count)
    return table(
        contact_id=key,
        name=full_name,
        title=pick(_TITLES, level),
        email=mail,
        company=pick(COMPANIES, company),
        executive_level=pick(_LEVELS, level),
        modified_at=changed,
    )


def _programmes(shared: Shared) -> pl.DataFrame:
    generator = shared.parameters.stream("crm.csr_programmes")
    programmes: Programmes = shared.programmes
    count = len(programmes)
    last = shared.parameters.last_day
    is_limited = flags(generator, 0.4, count)
    return table(
        programme_id=programmes.key,
        programme_name=joined(pick(_THEMES, programmes.objective), numbered(" ", np.arange(1, count + 1), 1)),
        company=pick(COMPANIES, programmes.company),
        budget_allocation=pl.Series(programmes.budget),
        start_date=dates(programmes.start),
        end_date=dates(last + between(generator, 200, 900, count), is_limited),
        objectives=pick(OBJECTIVES, programmes.objective),
        modified_at=moments(generator, last - between(generator, 5, 500, count)),
    )


def _engagements(shared: Shared, managers: pl.DataFrame, sponsors: pl.DataFrame) -> pl.DataFrame:
    parameters = shared.parameters
    generator = parameters.stream("crm.engagement_history")
    count = max(_LEAST_ENGAGEMENTS, round(parameters.children * _ENGAGEMENTS_PER_CHILD))
    contact_keys = pl.concat([managers["contact_id"], sponsors["contact_id"]])
    names = pl.concat([managers["name"], sponsors["name"]])
    contact = generator.integers(0, len(contact_keys), count)
    day = between(generator, parameters.first_day, parameters.last_day, count)
    step = pick(_NEXT_STEPS, generator.integers(0, len(_NEXT_STEPS), count))
    return table(
        engagement_id=keys("EN-", 1, count, 8),
        contact_id=pick(contact_keys, contact),
        programme_id=only(
            pick(shared.programmes.key, generator.integers(0, len(shared.programmes), count)),
            flags(generator, 0.8, count),
        ),
        interaction_date=dates(day),
        interaction_type=pick(_INTERACTIONS, draw(generator, (0.25, 0.25, 0.3, 0.12, 0.08), count)),
        outcome=pick(("positive", "neutral", "negative"), draw(generator, (0.55, 0.35, 0.1), count)),
        next_steps=only(joined(step, pick(names, contact)), flags(generator, 0.6, count)),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 3, count), parameters.last_day)),
    )


def erp_shared_tables(shared: Shared) -> dict[str, pl.DataFrame]:
    """Rows of erp.cost_centres, budgets, vendors and contracts."""
    return {
        "cost_centres": _cost_centres(shared),
        "budgets": _budgets(shared),
        "vendors": _vendors(shared),
        "contracts": _contracts(shared),
    }


def _cost_centres(shared: Shared) -> pl.DataFrame:
    generator = shared.parameters.stream("erp.cost_centres")
    count = len(shared.cost_centres)
    programme = np.arange(count) // _CENTRES_PER_PROGRAMME
    position = np.arange(count) % _CENTRES_PER_PROGRAMME
    category = np.where(position == 0, 0, (position + programme % 2) % len(_CATEGORIES))
    category = np.where((position > 0) & (category == 0), 3, category)
    return table(
        cost_centre_id=shared.cost_centres,
        name=joined(pick(_CATEGORIES, category).str.replace_all("_", " "), " ", pick(shared.programmes.key, programme)),
        programme_id=pick(shared.programmes.key, programme),
        category=pick(_CATEGORIES, category),
        modified_at=moments(generator, shared.programmes.start[programme]),
    )


def _budgets(shared: Shared) -> pl.DataFrame:
    parameters = shared.parameters
    generator = parameters.stream("erp.budgets")
    last = parameters.until.year
    years = np.arange(last - 3, last + 1)
    centre = np.repeat(np.arange(len(shared.cost_centres)), len(years))
    year = np.tile(years, len(shared.cost_centres))
    count = len(centre)
    status = np.where(year < last, 2, draw(generator, (0.05, 0.15, 0.75, 0.05), count))
    amount = shared.programmes.budget[centre // _CENTRES_PER_PROGRAMME] / 9.0 * generator.uniform(0.6, 1.4, count)
    changed = np.array([parameters.until.replace(year=int(value), month=1, day=15).toordinal() for value in years])
    changed = changed - parameters.until.toordinal() + parameters.last_day
    return table(
        budget_id=keys("BU-", 1, count, 6),
        cost_centre_id=pick(shared.cost_centres, centre),
        fiscal_year=pl.Series(year),
        amount=pl.Series(np.round(amount, -5)),
        approval_status=pick(APPROVALS, status),
        approval_levels=pl.Series(np.array([0, 1, 3, 1])[status]),
        modified_at=moments(generator, np.tile(changed, len(shared.cost_centres))),
    )


def _vendors(shared: Shared) -> pl.DataFrame:
    generator = shared.parameters.stream("erp.vendors")
    count = len(shared.vendors)
    family = people.last_names(generator, count)
    kind = pick(("CV", "PT", "UD", "Koperasi"), generator.integers(0, 4, count))
    trades = ("Pangan", "Alat Tulis", "Obat & Alat Kesehatan", "Tekstil", "Bangunan")
    trade = pick(trades, generator.integers(0, len(trades), count))
    classes = ("none", "women_owned", "social_enterprise", "disability_owned", "small_local")
    return table(
        vendor_id=shared.vendors,
        name=joined(kind, " ", family, " ", trade),
        regency_code=only(
            pick(shared.places.regency_code, draw_regions(generator, shared.places, count)),
            flags(generator, 0.97, count),
        ),
        diversity_class=pick(classes, draw(generator, (0.45, 0.18, 0.1, 0.05, 0.22), count)),
        modified_at=moments(generator, shared.parameters.last_day - between(generator, 10, 900, count)),
    )


def _contracts(shared: Shared) -> pl.DataFrame:
    """Contracts behind the planted effects, and some of the other objectives."""
    generator = shared.parameters.stream("erp.contracts")
    orphanages = shared.orphanages
    parts: list[tuple[Integers, Integers, Integers, Integers]] = []
    for programme, start, end in (
        (orphanages.education_programme, orphanages.education_start, orphanages.education_end),
        (orphanages.health_programme, orphanages.health_start, orphanages.health_end),
    ):
        has = np.flatnonzero(programme != NO_PROGRAMME)
        parts.append((programme[has], has, start[has], end[has]))
    others = np.flatnonzero(shared.programmes.objective >= OBJECTIVES.index("safety"))
    some = np.flatnonzero(flags(generator, 0.2, len(orphanages)))
    programme = others[generator.integers(0, len(others), len(some))]
    start = np.maximum(
        between(generator, shared.parameters.first_day, shared.parameters.last_day - 90, len(some)),
        shared.programmes.start[programme],
    )
    parts.append((programme, some, start, start + between(generator, 200, 900, len(some))))
    programme, orphanage, start, end = (np.concatenate(column) for column in zip(*parts, strict=True))
    count = len(programme)
    return table(
        contract_id=keys("CT-", 1, count, 8),
        programme_id=pick(shared.programmes.key, programme),
        orphanage_id=pick(orphanages.key, orphanage),
        start_date=dates(start),
        end_date=dates(end),
        amount=pl.Series(np.round(generator.lognormal(17.3, 0.6, count), -5)),
        modified_at=moments(generator, start),
    )


def make_orders(shared: Shared, block: Block) -> dict[str, pl.DataFrame]:
    """Rows of erp.purchase_orders, invoices and payments: what is approved is invoiced, most of it paid."""
    generator = block.stream("erp.purchase_orders")
    count = max(60, round(block.children * ORDERS_PER_CHILD))
    day = between(generator, block.first_day, block.last_day - 5, count)
    amount = np.maximum(np.round(generator.lognormal(15.4, 0.9, count), -3), 50_000.0)
    status = draw(generator, (0.03, 0.05, 0.9, 0.02), count)
    key = keys("PO-", block.first_number, count)
    orders = table(
        purchase_order_id=key,
        cost_centre_id=pick(shared.cost_centres, generator.integers(0, len(shared.cost_centres), count)),
        vendor_id=pick(shared.vendors, generator.integers(0, len(shared.vendors), count)),
        orphanage_id=only(
            pick(shared.orphanages.key, generator.integers(0, len(shared.orphanages), count)),
            flags(generator, 0.8, count),
        ),
        ordered_on=dates(day),
        amount=pl.Series(amount),
        approval_status=pick(APPROVALS, status),
        modified_at=moments(generator, np.minimum(day + between(generator, 0, 9, count), block.last_day)),
    )
    invoices, invoice_key, invoice_day, invoice_amount = _invoices(block, key, day, amount, status)
    return {
        "purchase_orders": orders,
        "invoices": invoices,
        "payments": _payments(block, invoice_key, invoice_day, invoice_amount),
    }


def _invoices(
    block: Block, order: pl.Series, day: Integers, amount: Floats, status: Integers
) -> tuple[pl.DataFrame, pl.Series, Integers, Floats]:
    generator = block.stream("erp.invoices")
    of = np.flatnonzero((status == APPROVALS.index("approved")) & flags(generator, 0.95, len(status)))
    invoiced = np.minimum(day[of] + between(generator, 3, 30, len(of)), block.last_day)
    key = keys("IV-", block.first_number, len(of))
    frame = table(
        invoice_id=key,
        purchase_order_id=pick(order, of),
        invoiced_on=dates(invoiced),
        due_on=dates(invoiced + 30),
        amount=pl.Series(amount[of]),
        modified_at=moments(generator, invoiced),
    )
    return frame, key, invoiced, amount[of]


def _payments(block: Block, invoice: pl.Series, day: Integers, amount: Floats) -> pl.DataFrame:
    generator = block.stream("erp.payments")
    paid = day + between(generator, 5, 60, len(day))
    of = np.flatnonzero((paid <= block.last_day) & flags(generator, 0.93, len(day)))
    return table(
        payment_id=keys("PY-", block.first_number, len(of)),
        invoice_id=pick(invoice, of),
        paid_on=dates(paid[of]),
        amount=pl.Series(amount[of]),
        modified_at=moments(generator, paid[of]),
    )
