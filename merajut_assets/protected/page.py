"""What the page of a protected dataset shows: policy, levels, what the verifier reached, risk, and how much is left.

Belongs here: figures of a release as Markdown, and plots of them as small SVG images inside it. Does not belong here:
measuring anything (`pipeline`, `linkage`), storing it (`release`), and Dagster (`assets`).

Only counts, shares, names of columns and what the policy says are shown, never a value of a row. Dagster shows an
entry on the asset's page itself while it is shorter than `SHOWN_AT_ONCE` characters, and behind a click otherwise;
it strips HTML from Markdown but lets images with their content in the address pass.
"""

from __future__ import annotations

import html
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from operator import mul
from typing import Any

import polars as pl

from merajut_assets.contracts.base import TableContract
from merajut_assets.policies.levels import REGIONS, level_of, protection_levels
from merajut_assets.policies.stakeholder import Aggregate, Microdata, StakeholderPolicy
from merajut_assets.privacy.hierarchy import ANY, read_hierarchy
from merajut_assets.privacy.policy import Policy, QuasiIdentifier, Sensitive
from merajut_assets.privacy.requirements import questions
from merajut_assets.privacy.utility import size_bands
from merajut_assets.protected.pipeline import UTILITY_REPORT, subject_column
from resources.facts import Fact

SHOWN_AT_ONCE = 1000
# The requirements ask for a risk of re-identification below this.
REQUIRED_RISK = 0.001
BAR_WIDTH = 180
# Smaller shares are not written out; the metadata has the figure itself.
LEAST_SHARE = 1e-6
NOT_RECORDED = "Not recorded."

_SHIFTS = {"total_variation": "TV", "jensen_shannon": "JS", "earth_mover": "EM"}
# Side of one field of a heat map, and from which figures on it is one shade darker.
FIELD = 24
SHADES = (0.05, 0.1, 0.2, 0.3, 0.5)

Facts = Mapping[str, Fact]
Bar = tuple[str, float, str]

_REQUIREMENTS = {
    "l": ("l (distinct) of", "≥"),
    "entropy_l": ("l (entropy) of", "≥"),
    "recursive_c": ("c (recursive) of", "<"),
    "t_equal": ("t (equal) of", "≤"),
    "t_ordered": ("t (ordered) of", "≤"),
    "t_hierarchical": ("t (hierarchical) of", "≤"),
    "beta": ("β of", "≤"),
}


def privacy_page(
    contract: TableContract, policy: StakeholderPolicy, facts: Facts, stored: pl.DataFrame
) -> dict[str, str]:
    """The entries of a dataset's page, as Markdown by name.

    `facts`: those with which the release was stored; what an older one lacks is shown as not recorded. `stored`: its
    rows, of which only the sizes of classes are shown. Of rows about persons there are `policy`, `policy_columns`,
    `levels`, `reached`, `risk`, `information`, `information_columns`, `association`, `utility_columns`,
    `utility_shift`, `utility_classes` and `utility_rows`; of figures about groups `policy`, `reached` and
    `utility_rows`; of open data `policy`.
    """
    dataset = policy.datasets[contract.name]
    if isinstance(dataset, Microdata):
        return {
            "policy": _policy(contract, policy, dataset),
            "policy_columns": _policy_columns(dataset.privacy),
            "levels": _levels(dataset.privacy, facts),
            "reached": _reached(dataset.privacy, facts),
            "risk": _risk(dataset, facts),
            **_information(facts),
            **_utility(contract, dataset.privacy, facts, stored),
        }
    if isinstance(dataset, Aggregate):
        return _group_page(policy, dataset, facts)
    return {"policy": _requirements(policy, [("Rows about persons", "none"), ("Personal columns", "none")])}


# ── the policy ───────────────────────────────────────────────────────────────────────────


def _policy(contract: TableContract, policy: StakeholderPolicy, dataset: Microdata) -> str:
    privacy = dataset.privacy
    name = level_of(policy, contract)
    level = protection_levels().levels[name]
    left_out = f"at most {_share(privacy.suppression_limit)}"
    if privacy.repeated_suppression_limit is not None:
        left_out += f", beside earlier releases {_share(privacy.repeated_suppression_limit)}"
    rows = [
        ("Protection level", f"{name}: k ≥ {level.k}, l ≥ {level.l}, t ≤ {level.t:g}, place: {level.finest_region}"),
        ("k (different persons in a class)", f"{privacy.k}"),
        ("Rows left out", left_out),
        ("Presence of a person in a release", privacy.presence),
        ("Never in one class", ", ".join(privacy.exact) or "–"),
        *((f"Limit of {name}", f"{limit:g}") for name, limit in dataset.risk_limits.items()),
    ]
    return _requirements(policy, rows)


def _requirements(policy: StakeholderPolicy, rows: Iterable[tuple[str, str]]) -> str:
    return _table(("Requirement", "Value"), [("Purpose", policy.purpose), *rows])


def _policy_columns(privacy: Policy) -> str:
    rows = [
        *((name, f"generalised ({spec.kind})", _chain(spec)) for name, spec in privacy.quasi_identifiers.items()),
        *((name, "sensitive", _rule(rule)) for name, rule in privacy.sensitive.items()),
    ]
    return _table(("Column", "Role", "Levels from fine to coarse, or rule"), rows)


def _rule(rule: Sensitive) -> str:
    parts = []
    if (diverse := rule.l_diversity) is not None:
        parts.append(f"l ≥ {diverse.l:g} ({diverse.kind}{'' if diverse.c is None else f', c {diverse.c:g}'})")
    if (close := rule.t_closeness) is not None:
        parts.append(f"t ≤ {close.t:g} ({close.kind})")
    if rule.beta_likeness is not None:
        parts.append(f"β ≤ {rule.beta_likeness:g}")
    return ", ".join(parts) or "–"


# ── the levels ───────────────────────────────────────────────────────────────────────────


def level_names(spec: QuasiIdentifier) -> list[str]:
    """What each level of a quasi-identifier is called, the finest first, whether it may be published or not."""
    if spec.date is not None:
        return [ANY if unit == ANY else f"{unit[:-1]} years" if unit[0].isdigit() else unit for unit in spec.date]
    if spec.prefix is not None:
        return [f"first {length}" if length else ANY for length in spec.prefix]
    if spec.codes is not None:
        return [*REGIONS, ANY]
    if spec.intervals is not None:
        merged = list(accumulate((step for step in spec.then if step != ANY), mul))
        ends = [ANY] if spec.then and spec.then[-1] == ANY else []
        return ["interval", *(f"{number} intervals" for number in merged), *ends]
    assert spec.hierarchy is not None
    depth = read_hierarchy(spec.hierarchy, spec.separator).width
    return ["value", *(f"column {number} of the file" for number in range(1, depth))]


def _chain(spec: QuasiIdentifier) -> str:
    return " → ".join(_escaped(name) for name in level_names(spec)[spec.least_level :])


def _levels(privacy: Policy, facts: Facts) -> str:
    rows = []
    for name, spec in privacy.quasi_identifiers.items():
        names, level = level_names(spec), facts.get(f"level_{name}")
        if not isinstance(level, int):
            rows.append((name, "not recorded", "–"))
            continue
        finest = facts.get(f"finest_level_{name}", level)
        used = sorted({finest, level}) if isinstance(finest, int) else [level]
        said = " to ".join(f"**{_escaped(names[one])}**" for one in used)
        place = "–".join(map(str, used))
        rows.append((name, said, f"{place} of {spec.least_level}–{len(names) - 1}"))
    note = f"{_escaped(ANY)}: not told. Level 0 is the finest."
    if privacy.exact:
        note += (
            f" Rows of each {', '.join(privacy.exact)} have levels of their own; the finest and the coarsest are named."
        )
    return f"{_table(('Column', 'Published as', 'Level'), rows)}\n\n{note}"


# ── what was reached ─────────────────────────────────────────────────────────────────────


def _reached(privacy: Policy, facts: Facts) -> str:
    rows = [("k", f"≥ {privacy.k}", _figure(facts.get("k")))]
    for figure, thresholds in questions(privacy).thresholds.items():
        if figure in _REQUIREMENTS:
            words, sign = _REQUIREMENTS[figure]
            rows += [
                (f"{words} {column}", f"{sign} {threshold:g}", _figure(facts.get(f"{figure}_{column}")))
                for column, threshold in thresholds.items()
            ]
    if "candidates" in facts:
        rows.append(("candidates over all releases", f"≥ {privacy.k}", _figure(facts["candidates"])))
    note = f"Classes: {_figure(facts.get('classes'))}. Loss (0 nothing, 1 all): {_figure(facts.get('loss'))}."
    return f"{_table(('Measured by the verifier', 'Required', 'Reached'), rows)}\n\n{note}"


def _risk(dataset: Microdata, facts: Facts) -> str:
    threshold = facts.get("risk_threshold")
    above = "above the threshold" if threshold is None else f"with a risk above {_share(threshold)}"
    shown = {
        "prosecutor.highest": "Prosecutor, highest (1 / smallest class)",
        "prosecutor.average": "Prosecutor, average",
        "prosecutor.share_above_threshold": f"Prosecutor, rows {above}",
        "marketer.average": "Marketer",
        "sample_unique_share": "Alone in a class",
    }
    note = ""
    if "risk_linkage_share_right" in facts:
        shown["linkage.highest"] = "Journalist, highest"
        shown["linkage.share_right"] = "Linkage: children guessed right"
        shown["linkage.within_class"] = "Linkage, presence known: 1 / k in a class"
        note = (
            f"\n\nWe read the requirements' “< {_share(REQUIRED_RISK)}” as the share of children whom one guesses "
            "right who looks each up in the population by district, sex and birth month: our interpretation."
        )
    if (fraction := facts.get("risk_population_uniqueness_sampling_fraction")) is not None:
        shown["population_uniqueness.dankar"] = f"Unique in the population, of which this is {_share(fraction)}"
    limits = dataset.risk_limits
    rows = [
        (words, _share(facts.get(f"risk_{name.replace('.', '_')}")), _share(limits[name]) if name in limits else "–")
        for name, words in shown.items()
    ]
    return _table(("Attacker", "Risk", "Limit"), rows) + note


# ── what is left ─────────────────────────────────────────────────────────────────────────


def _information(facts: Facts) -> dict[str, str]:
    """The release's utility report (see `privacy.utility`): as a whole, by column, and by pairs of columns."""
    if not isinstance(recorded := facts.get(UTILITY_REPORT), str):
        return dict.fromkeys(("information", "information_columns", "association", "utility_shift"), NOT_RECORDED)
    report = json.loads(recorded)
    sizes, between = report["class_sizes"], report["association"]
    changed = f"{between['largest_change']:g}"
    if between["most_changed"]:
        changed += f" ({' × '.join(between['most_changed'])})"
    whole = [
        ("Loss (0 nothing, 1 all)", _figure(report["loss"])),
        ("Granularity (1 as before, 0 nothing)", _figure(report["granularity"])),
        ("Precision (1 as before, 0 nothing)", _figure(report["precision"])),
        ("Discernibility: pairs of rows not told apart", _share(report["discernibility_share"])),
        ("Average class, rows left out being one", f"{report['average_class']:g}"),
        ("Class: mean, median, largest", f"{sizes['mean']:g}, {sizes['median']:g}, {sizes['largest']}"),
        ("Association of two columns, largest change", changed),
    ]
    rows = [
        (name, *(_told(column.get(figure)) for figure in ("loss", "entropy_lost", *_SHIFTS)))
        for name, column in report["columns"].items()
    ]
    header = ("Column", "Loss", "Entropy", *_SHIFTS.values())
    note = (
        "Loss and entropy lost, as a share. What a recipient reconstructs, against the original, rows left out being "
        "spread over all values: TV total variation, JS Jensen-Shannon divergence in bits, EM earth mover's distance. "
        f"In steps of {report['steps']['shift']:g}; 0 is the same."
    )
    shifts = [
        (name, column["total_variation"], _share(column["total_variation"]))
        for name, column in report["columns"].items()
        if column["role"] == "quasi_identifier"
    ]
    return {
        "information": _table(("Whole table", "Figure"), whole),
        "information_columns": f"{_table(header, rows)}\n\n{note}",
        "utility_shift": bar_chart("Shift of distributions (total variation)", shifts),
        "association": _associations(between),
    }


def _associations(between: Mapping[str, Any]) -> str:
    names = dict(zip(string.ascii_uppercase, between["columns"], strict=False))
    said = ", ".join(f"{letter} {name}" for letter, name in names.items())
    drawn = heat_map("Association of columns", list(names), between["before"], between["after"])
    shades = ", ".join(f"{shade:g}" for shade in SHADES)
    return f"{drawn}\n\nBelow the letters before, above them after: {said}. Darker from a Cramér's V of {shades}."


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _utility(contract: TableContract, privacy: Policy, facts: Facts, stored: pl.DataFrame) -> dict[str, str]:
    losses = {name: facts.get(f"column_loss_{name}") for name in privacy.quasi_identifiers}
    known = {name: float(loss) for name, loss in losses.items() if isinstance(loss, int | float)}
    kept = [(name, 1 - loss, _share(1 - loss)) for name, loss in known.items()]
    sizes = stored.group_by(privacy.class_columns).agg(pl.col(subject_column(contract)).n_unique().alias("size"))
    bands = [(name, count) for name, count in size_bands(sizes.get_column("size"), privacy.k)]
    left = [
        ("published", stored.height),
        ("left out", _count(facts.get("suppressed"))),
        ("withheld parts", _count(facts.get("withheld_rows"))),
    ]
    erased = _count(facts.get("subjects")) - sum(count for _, count in left)
    left += [("erased since", erased)] if erased > 0 else []
    return {
        "utility_columns": bar_chart("Information kept per column", kept) if kept else NOT_RECORDED,
        "utility_classes": bar_chart("Classes by persons in them", _proportions(bands)),
        "utility_rows": bar_chart("Persons", _proportions(left)),
    }


# ── figures about groups ─────────────────────────────────────────────────────────────────


def _group_page(policy: StakeholderPolicy, dataset: Aggregate, facts: Facts) -> dict[str, str]:
    rows, withheld = _count(facts.get("rows")), _count(facts.get("suppressed"))
    reasons = {
        "cells_withheld_small": f"Withheld: fewer than {dataset.k} {dataset.contributors}",
        "cells_withheld_small_change": f"Withheld: differs from another release by fewer than {dataset.k}",
        "shares_withheld": "Shares withheld: they say the same of everybody",
        "publications_compared": "Earlier releases compared",
    }
    reached = [
        (f"Fewest {dataset.contributors} behind a row", _figure(facts.get("k", "no row is shown"))),
        *((words, _figure(facts.get(name))) for name, words in reasons.items()),
    ]
    required = [(f"k ({dataset.contributors} behind a row)", str(dataset.k)), ("Small cells", "withheld")]
    return {
        "policy": _requirements(policy, required),
        "reached": _table(("Measured", "Figure"), reached),
        "utility_rows": bar_chart("Rows", _proportions([("shown", rows - withheld), ("withheld", withheld)])),
    }


# ── Markdown and SVG ─────────────────────────────────────────────────────────────────────


def bar_chart(title: str, bars: Sequence[Bar]) -> str:
    """An image in Markdown of horizontal bars: each a label, a length from 0 to 1, and the text of its figure.

    The SVG is written as short as possible (see `SHOWN_AT_ONCE`) and stays readable as text in the address."""
    height = 30 + 20 * len(bars)
    label, track, filled = [], [], []
    for place, (name, length, figure) in enumerate(bars):
        y = 30 + 20 * place
        label.append(f"<tspan x='8' y='{y + 11}'>{html.escape(name)}: {html.escape(figure)}</tspan>")
        track.append(f"M200 {y + 7}h{BAR_WIDTH}")
        filled.append(f"M200 {y + 7}h{round(BAR_WIDTH * min(max(length, 0.0), 1.0))}")
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{208 + BAR_WIDTH}' height='{height}' "
        f"style='background:#fff' font-family='sans-serif' font-size='13'>"
        f"<text x='8' y='17' font-weight='700'>{html.escape(title)}</text>"
        f"<text>{''.join(label)}</text><g stroke-width='14'><path stroke='#e5e7eb' d='{''.join(track)}'/>"
        f"<path stroke='#2563eb' d='{''.join(filled)}'/></g></svg>"
    )
    said = "; ".join(f"{name} {figure}" for name, _, figure in bars)
    return _image(f"{title}: {said}", svg)


def heat_map(
    title: str, letters: Sequence[str], below: Sequence[Sequence[float]], above: Sequence[Sequence[float]]
) -> str:
    """An image in Markdown of two symmetric matrices (letters, letters) of figures from 0 to 1: one below the diagonal,
    on which the letters stand, one above it. What is below the first of `SHADES` is left white."""
    runs: dict[int, str] = {}
    for row in range(len(letters)):
        shades = [
            0 if row == column else sum(figure >= shade for shade in SHADES)
            for column, figure in enumerate([*below[row][:row], *above[row][row:]])
        ]
        column = 0
        for shade, run in groupby(shades):
            length = len(list(run))
            if shade:
                runs[shade] = f"{runs.get(shade, '')}M{column} {row}h{length - 1}"
            column += length
    places = " ".join(str(place) for place in range(len(letters)))
    size = len(letters) * FIELD
    paths = "".join(f"<path opacity='{shade / len(SHADES):g}' d='{drawn}'/>" for shade, drawn in sorted(runs.items()))
    return _image(
        title,
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{size}' height='{size}' "
        f"viewBox='-.5 -.5 {len(letters)} {len(letters)}' style='background:#f3f4f6'>"
        f"<g stroke='#2563eb' stroke-linecap='square'>{paths}</g>"
        f"<text font-size='.6' text-anchor='middle' dominant-baseline='central' font-family='sans-serif' "
        f"x='{places}' y='{places}'>{''.join(letters)}</text></svg>",
    )


def _image(said: str, svg: str) -> str:
    # What would end the address or be read as a part of it; `%` first.
    for sign in "%<>#":
        svg = svg.replace(sign, f"%{ord(sign):02X}")
    return f"![{said}](<data:image/svg+xml,{svg}>)"


def _proportions(counts: Sequence[tuple[str, int]]) -> list[Bar]:
    total = sum(count for _, count in counts)
    return [(name, count / total if total else 0.0, str(count)) for name, count in counts]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["-"] * len(header), *rows]
    return "\n".join(f"|{'|'.join(line)}|" for line in lines)


def _escaped(text: str) -> str:
    return text.replace(ANY, f"\\{ANY}")


def _figure(value: Fact) -> str:
    return "not recorded" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _share(value: Fact) -> str:
    if not isinstance(value, int | float):
        return "not recorded"
    return f"{100 * value:.3g} %" if value == 0 or value >= LEAST_SHARE else f"under {100 * LEAST_SHARE:g} %"


def _count(value: Fact) -> int:
    return value if isinstance(value, int) else 0
