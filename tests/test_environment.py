"""Environment variables that code names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lab.environment import named, startup


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


def test_what_ipython_runs_first_has_a_digest(tmp_path: Path) -> None:
    environment = {"IPYTHONDIR": str(tmp_path)}
    assert startup(environment) == ""
    (tmp_path / "profile_default" / "startup").mkdir(parents=True)
    file = tmp_path / "profile_default" / "startup" / "00-first.py"
    file.write_text("K = 1")
    one = startup(environment)
    file.write_text("K = 2")
    assert "" != one != startup(environment)
