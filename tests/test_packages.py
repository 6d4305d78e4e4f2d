"""The distributions that modules come from are the ones that the standard library finds, at a tenth of its cost."""

import sys
from importlib import metadata

from mlops_lab.packages import owners, versions


def test_each_installed_module_is_attributed_as_the_standard_library_does():
    theirs = {module: names[0] for module, names in metadata.packages_distributions().items() if module.isidentifier()}
    theirs.pop("__pycache__", None)  # that is what Python 3.13 finds of a distribution that is one file
    ours = {module: distribution.metadata["Name"] for module, distribution in owners(theirs).items()}
    assert ours == theirs


def test_a_module_that_nothing_installed_provides_has_no_version():
    assert versions(frozenset({"cloudpickle", "a_module_beside_the_notebook"})) == {
        "cloudpickle": metadata.version("cloudpickle")
    }


def test_what_a_distribution_requires_is_part_of_it_in_this_interpreter_and_in_another():
    found = versions(frozenset({"sklearn"}))
    assert found.items() >= {name: metadata.version(name) for name in ("scikit-learn", "numpy", "scipy", "joblib")}.items()
    assert versions(frozenset({"sklearn"}), f"{sys.prefix}/bin/../bin/python") == found
    assert "pytest" not in found  # which only its tests require
