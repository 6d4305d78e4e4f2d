"""Which tag gives a cell which role, and which unknown tags look like a misspelt one of ours."""

from __future__ import annotations

import pytest

from mlops_lab.roles import RULES, STEP_NAME, Role, parse_tag, slug, suspicious


@pytest.mark.parametrize(
    ("tag", "role", "name"),
    [
        ("step:train", Role.STEP, "train"),
        ("step: train ", Role.STEP, "train"),
        ("step:", Role.STEP, ""),
        ("after:load", Role.AFTER, "load"),
        ("prev:load", Role.AFTER, "load"),
        ("parameters", Role.PARAMETERS, ""),
        ("pipeline-parameters", Role.PARAMETERS, ""),
        ("pipeline-metrics", Role.METRICS, ""),
        ("setup", Role.SETUP, ""),
        ("gate", Role.GATE, ""),
        ("skip", Role.SKIP, ""),
        ("imports", Role.IMPORTS, ""),
        ("functions", Role.IMPORTS, ""),
    ],
)
def test_a_tag_of_ours_or_kale_has_a_role(tag: str, role: Role, name: str) -> None:
    found = parse_tag(tag)
    assert found is not None
    assert (found[0].role, found[1]) == (role, name)


@pytest.mark.parametrize(
    "tag", ["solution", "hide-input", "step", "Step:x", "after", "setup:x", "limit:gpu:1", "", "raises-exception"]
)
def test_any_other_tag_has_none(tag: str) -> None:
    assert parse_tag(tag) is None


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("Step:train", "step:train"),
        ("step train", "step:train"),
        ("step=train", "step:train"),
        ("steps:train", "step:train"),
        ("step:Train", None),  # a step tag; its name is another diagnostic's business
        ("STEP: My Model", "step:my-model"),
        ("paramters", "parameters"),
        ("Parameters", "parameters"),
        ("pipeline_parameters", "pipeline-parameters"),
        ("Gate", "gate"),
        ("skipp", "skip"),
        ("aftr:load", "after:load"),
        ("solution", None),
        ("hide-input", None),
        ("remove-cell", None),
        ("raises-exception", None),
        ("exercise", None),
        ("", None),
        (":", None),
    ],
)
def test_a_misspelt_tag_is_recognised_and_others_are_left_alone(tag: str, meant: str | None) -> None:
    assert suspicious(tag) == meant


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Train Model", "train-model"),
        ("1. Daten laden", "daten-laden"),
        ("Größe", "groe"),
        ("日本", "step"),
        ("", "step"),
        ("a--b", "a-b"),
    ],
)
def test_any_text_makes_a_valid_step_name(text: str, name: str) -> None:
    assert STEP_NAME.fullmatch(slug(text))
    if text != "Größe":
        assert slug(text) == name


@pytest.mark.parametrize(
    ("name", "valid"), [("a", True), ("a-1", True), ("a-", False), ("A", False), ("1a", False), ("a_b", False), ("", False)]
)
def test_step_names_are_lower_case_letters_digits_and_dashes(name: str, valid: bool) -> None:
    assert bool(STEP_NAME.fullmatch(name)) is valid


def test_every_rule_explains_itself_and_is_found_by_its_tag() -> None:
    for rule in RULES:
        assert rule.help.endswith(".")
        assert parse_tag(rule.tag) == (rule, "")
