"""Which run on Kubeflow a run in our folder is (`remote.json`): `submit.py` writes it, `follow.py` goes on from it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field

from mlops_lab.errors import UsageError
from mlops_lab.runs import RunFolder


@dataclass
class Remote:
    """Which run on Kubeflow a folder's run is (`remote.json`).

    `submitted` is false until the server's answer is there: the run may have been made all the same, under this `name`. What
    ended before `since` (seconds since 1970) is of an earlier life of the same run.
    """

    connection: str
    name: str
    experiment: str = ""
    run_id: str = ""
    submitted: bool = False
    since: float = 0.0
    url: str = ""
    retries: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunFolder) -> Remote:
        """Raises `UsageError` where the folder has none."""
        try:
            content = json.loads(folder.remote.read_text(encoding="utf-8"))
            return cls(**{k: v for k, v in content.items() if k in cls.__dataclass_fields__})
        except (OSError, ValueError, TypeError):
            raise UsageError(f"Run {folder.id} was never handed to Kubeflow; start it anew.") from None

    def write(self, folder: RunFolder) -> None:
        """Write it whole or not at all."""
        temporary = folder.remote.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, folder.remote)
