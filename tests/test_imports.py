"""What reading a notebook imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

_READ = """
import sys
from mlops_lab.notebook import read
read(sys.argv[1])
assert "jsonschema" in sys.modules
print("grammar" if any(name.startswith("rfc3987_syntax.") for name in sys.modules) else "none")
from jsonschema import Draft202012Validator, FormatChecker
validator = Draft202012Validator({"format": "iri"}, format_checker=FormatChecker())
print(validator.is_valid("https://example.org/\\u00e4"), validator.is_valid("no address"))
import rfc3987_syntax
from rfc3987_syntax.syntax_helpers import parse
print(callable(parse), rfc3987_syntax.__file__ == sys.modules["rfc3987_syntax"].__file__)
"""


def test_a_grammar_that_notebooks_need_not_is_only_built_when_an_address_is_checked(notebook):
    pytest.importorskip("rfc3987_syntax")
    path = notebook([("step:a", "x = 1")])
    done = subprocess.run([sys.executable, "-c", _READ, path], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["none", "True False", "True True"]
