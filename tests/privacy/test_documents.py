"""A slip in a policy file must be refused, not read as something weaker than its author wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merajut_assets.policies import stakeholder
from merajut_assets.policies.levels import Levels, protection_levels
from merajut_assets.policies.stakeholder import DIRECTORY, StakeholderPolicyError, parse_document, parse_policy
from merajut_assets.privacy import Policy, PolicyError
from merajut_assets.privacy.documents import DocumentError, read_document

SECRET = "PENANDA-RAHASIA-7f3a"
COLUMNS = "quasi_identifiers: {zip: {prefix: [4, 0]}}\n"
SLIPS = [
    ("k: 5\nmetric: loss\nk: 2\n", "line 3: 'k' stands in line 1 already"),
    ("a: {zip: {prefix: [4, 0]}, zip: {prefix: [0]}}\n", "line 1: 'zip' stands in line 1 already"),
    ("k: 5\n'k': 2\n", "line 2: 'k' stands in line 1"),
    ("a: &a {k: 5}\nb: {<<: {k: 3, k: 2}}\n", "line 2: 'k' stands in line 2"),
    ("a: &a {k: 5}\nb: {<<: *a, <<: *a}\n", "'<<' stands"),
    ("no: {prefix: [1]}\n", "line 1: the key 'no' is not read as text by YAML; put it in quotes"),
    ("1: {prefix: [1]}\n", "the key '1' is not read as text"),
    ("? [a, b]\n: 1\n", "the key is not read as text"),
    ("k_map:\nk: 5\n", "line 1: 'k_map' has no value"),
    ("s: {t_closeness: null}\n", "'t_closeness' has no value"),
    ("k: 010\n", "line 1: YAML reads a number with a leading zero as octal"),
    ("l: [1:30]\n", "colons as sexagesimal"),
    (f"\n- [{SECRET}", "line 2: not valid YAML"),
    (f"k: *{SECRET}\n", "not valid YAML"),
    ("k: 5\na: &x {b: [*x]}\n", "line 2: the alias stands within what it is an alias of"),
    (f"k: !{SECRET} 1\n", "not valid YAML"),
    ("k: 2026-13-45\n", "not valid YAML"),
    (f"k: !!bool {SECRET}\n", "not valid YAML"),
    (f"k: !!timestamp {SECRET}\n", "not valid YAML"),
    ("k: !!int ''\n", "not valid YAML"),
    ("k: " + "[" * 2000 + "\n", "not valid YAML"),
    ("k: \x07\n", "not valid YAML"),
    ("k: 1\n---\nk: 2\n", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "said"), SLIPS)
def test_what_yaml_would_read_in_silence_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    """`k: 5` and, further down, `k: 2` was a policy with k = 2. Each reader of people's YAML is held to the same."""
    path = tmp_path / "slip.yaml"
    path.write_text(text, encoding="utf-8")
    for read, error, name in (
        (lambda: read_document(text), DocumentError, ""),
        (lambda: Policy.from_yaml(path), PolicyError, "policy slip.yaml: "),
        (lambda: parse_policy(text, "slip"), StakeholderPolicyError, "policy slip: "),
    ):
        with pytest.raises(error) as caught:
            read()
        assert str(caught.value).startswith(name)
        assert said in str(caught.value)
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


def test_what_is_written_plainly_is_read_as_it_is() -> None:
    """Strictness must not cost what people use: anchors with a value put right, quotes, numbers in each form."""
    text = "a: &a {k: 5, t: 0.2}\nb: {<<: *a, k: 7}\nc: {<<: *a}\n'no': [0, 1e6, -3, 0.5, 0x1F, '010', '*']\n"
    assert read_document(text) == {
        "a": {"k": 5, "t": 0.2},
        "b": {"k": 7, "t": 0.2},
        "c": {"k": 5, "t": 0.2},
        "no": [0, "1e6", -3, 0.5, 31, "010", "*"],
    }


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("k: yes", "k must be a number"),
        ("k: 5\nsuppression_limit: yes", "suppression_limit must"),
        ("k: 5\nexact: [on]", "exact, entry 1, must"),
        ("k: 5\nsubject: no", "subject must"),
        ("k: 5\nk_map: {k: true}", "k_map.k must"),
        ("k: 5\nsensitive: {s: {t_closeness: {t: yes}}}", "sensitive.s: t_closeness.t must"),
        (
            "k: 5\nsensitive: {s: {t_closeness: {kind: ordered, t: 0.1, order: [no, yes]}}}",
            "sensitive.s.t_closeness: order, entry 1, must",
        ),
        ("k: 5\nsensitive: {s: {l_diversity: {kind: recursive, l: on, c: 3}}}", "l_diversity.l must"),
        ("k: 5\ndelta_presence: {max: yes}", "delta_presence.max must"),
    ],
)
def test_a_truth_value_is_no_number_in_a_policy(tmp_path: Path, text: str, place: str) -> None:
    """`k: yes` was k = 1, which protects nobody; `t: yes` was 1.0, which asks for nothing."""
    path = tmp_path / "slip.yaml"
    path.write_text(COLUMNS + text, encoding="utf-8")
    with pytest.raises(PolicyError, match="truth values") as caught:
        Policy.from_yaml(path)
    assert place in str(caught.value)
    assert str(caught.value).startswith("policy slip.yaml: ")


@pytest.mark.parametrize(
    "spec", [{"prefix": [True, False]}, {"prefix": [1, 0], "weight": True}, {"codes": "wilayah", "least_level": True}]
)
def test_a_truth_value_is_no_number_in_python(spec: dict[str, Any]) -> None:
    """Python takes True for 1 as readily as YAML does."""
    with pytest.raises(PolicyError, match="truth values"):
        Policy.model_validate({"quasi_identifiers": {"zip": spec}, "k": 5})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("retention_days: 1825", "retention_days: yes", "retention_days must"),
        (
            "epsilon_per_release: 1.0",
            "epsilon_per_release: .inf",
            "budget.research.epsilon_per_release: Input should be",
        ),
        ("recipient_country: ID", "recipient_country: NO", "recipient_country must"),
        ("purpose: Research", "purpose: x\npurpose: Research", "'purpose' stands in line 3"),
        ("prosecutor.highest: 0.1", "prosecutor.highest: yes", "risk_limits.prosecutor.highest must"),
        ("k: 10", "k: yes", "datasets.research_child.microdata: privacy.k must"),
    ],
)
def test_a_slip_in_a_stakeholders_policy_is_refused(old: str, new: str, said: str) -> None:
    """The policies in force, with one slip each: a budget without an end protects nobody, and says so nowhere."""
    text = (DIRECTORY / "academia.yaml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(StakeholderPolicyError, match=r"policy academia: ") as caught:
        parse_policy(text.replace(old, new, 1), "academia")
    assert said in str(caught.value)


def test_a_slip_in_the_limits_of_all_is_refused() -> None:
    """Levels and the overall budget hold for every stakeholder."""
    with pytest.raises(StakeholderPolicyError, match="truth values"):
        parse_document(stakeholder.Overall, "epsilon_per_year: yes", "overall")
    with pytest.raises(StakeholderPolicyError, match="finite"):
        parse_document(stakeholder.Overall, "epsilon_per_year: .inf", "overall")
    document = protection_levels().model_dump(mode="json")
    document["levels"]["maximum"]["l"] = True
    with pytest.raises(ValueError, match="truth values"):
        Levels.model_validate(document)
