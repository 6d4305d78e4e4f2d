"""What code does with MLflow's store and settings, by the names of what it calls. Standard library only.

A store is a file that many steps may write at once, unlike a file of theirs. But what asks it gets what was logged above, and
nothing of what is logged below; and what an experiment, a store or a run was chosen by comes before all that is logged to it.
"""

from __future__ import annotations

import ast
import re

from mlops_lab.scopes import every_node, once

CHOOSES, LOGS, ASKS = "chooses", "logs", "asks"
AFTER = {CHOOSES: (CHOOSES, LOGS, ASKS), LOGS: (CHOOSES, ASKS), ASKS: (CHOOSES, LOGS)}  # what each has to come after
_CHOOSES = frozenset("set_experiment set_tracking_uri set_registry_uri end_run".split())
_LOGS = re.compile(
    "log_|set_tag|delete_(tag|run|experiment)|set_terminated|register_model|autolog$|evaluate$|fit$|train$"
    "|(create|update|rename|restore|transition|set|delete)_(run|experiment|registered_model|model_version|logged_model)"
)
_ASKS = re.compile(
    "(search|get|list|load|last)_(run|experiment|logged_model|registered_model|model|trace|artifact|metric|parent_run|active_run|latest)"
    "|last_active_run|download_artifacts|load_(text|dict|image|table)$"
)


@once
def does(tree: ast.AST) -> frozenset[str]:
    """Which of the three a piece of code does, if its notebook imports MLflow."""
    within = {id(item.context_expr) for node in every_node(tree) if isinstance(node, ast.With) for item in node.items}
    found = set()
    for node in every_node(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in _CHOOSES or (name == "start_run" and id(node) not in within):
            found.add(CHOOSES)
        elif name == "start_run" or _LOGS.match(name):
            found.add(LOGS)
        elif _ASKS.match(name):
            found.add(ASKS)
    return frozenset(found)
