"""Environment variables that code names."""

from __future__ import annotations

import pytest

from mlops_lab.environment import named


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("os.environ['DATA']", {"DATA"}),
        ('os.getenv("DATA", "none")', {"DATA"}),
        ("!echo $DATA ${KEY}", {"DATA", "KEY"}),
        ("%env KEY", {"KEY"}),
        ("os.path.expandvars('%DATA%/x')", {"DATA"}),
        ("'DATA'", set()),  # nothing here asks for variables
        ("os.environ['ABSENT']", set()),
        ("DATA = os.environ", set()),
        ("os.environ['_']", set()),
    ],
)
def test_variables_are_known_by_their_names_in_the_code(code: str, names: set[str]) -> None:
    found = named([code], {"DATA": "secret", "KEY": "k", "_": "python"})
    assert found.keys() == names and "secret" not in found.values()


def test_another_value_has_another_digest() -> None:
    assert named(["os.environ['A']"], {"A": "1"}) != named(["os.environ['A']"], {"A": "2"})
