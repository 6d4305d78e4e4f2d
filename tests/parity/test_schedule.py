"""What the parity table says of the schedule: which steps need not wait for each other, and what is said of those that must."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_lab.checks import check
from mlops_lab.pipeline import build
from mlops_lab.plan import Plan, make_plan

from .inprocess import read

SKLEARN = "from sklearn.linear_model import LinearRegression, Ridge\n"


def plan_of(*sources: str) -> Plan:
    """The plan of steps a, b, c, ... with these sources."""
    return make_plan(build(read([(f"step:{'abcd'[i]}", source) for i, source in enumerate(sources)], Path())))


@pytest.mark.parametrize(
    ("step", "other", "sources"),
    [
        ("c", "b", ("x = [1]", "print(x)", "y = len(x)")),
        ("b", "c", ("x = [1]", "print(x)", "x.append(2)", "print(x)")),
        ("c", "b", (SKLEARN + "X = [[1], [2]]\ny = [1, 2]", "m = LinearRegression()\nm.fit(X, y)", "n = Ridge()\nn.fit(X, y)")),
        ("c", "b", ("x = [1]", "def f(v): return v * 2\ny = f(x)", "z = sum(x)")),
    ],
    ids=["two readers", "a reader above a change", "two fits on the same data", "a function of one step"],
)
def test_a_step_waits_for_no_other_one(step: str, other: str, sources: tuple[str, ...]) -> None:
    plan = plan_of(*sources)
    assert other not in plan.upstream([step])


@pytest.mark.parametrize(
    ("step", "other", "sources"),
    [
        ("c", "b", ("x = [1]", "x.append(2)", "print(x)")),
        ("c", "b", ("x = [1]\ny = {'k': x}", "y['k'].append(2)", "print(x)")),
        ("c", "b", ("import random\nrandom.seed(1)", "random.random()", "random.random()")),
        ("c", "b", ("p = 'x.txt'", "open('x.txt', 'w').write('1')", "print(open('x.txt').read())")),
    ],
    ids=["a change", "a change through another name", "draws after a seed", "a file"],
)
def test_a_step_waits_for_the_other_one(step: str, other: str, sources: tuple[str, ...]) -> None:
    plan = plan_of(*sources)
    assert other in plan.upstream([step])


def test_draws_that_keep_steps_from_running_in_parallel_are_pointed_out() -> None:
    draws = ("y = random.random()", "z = random.random()")
    assert "ML116" in {finding.code for finding in check(plan_of("import random\nrandom.seed(1)", *draws))}
    assert "ML116" not in {finding.code for finding in check(plan_of("import random\nx = 1", *draws))}
