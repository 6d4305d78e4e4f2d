"""The kernel that a notebook names, as it is installed here."""

from __future__ import annotations

import re
import sys

from mlops_lab.errors import UsageError, did_you_mean


def kernel_python(name: str) -> str:
    """The interpreter of the notebook's kernel. Raises `UsageError` when it isn't installed or isn't Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    try:
        spec = manager.get_kernel_spec(name)
    except NoSuchKernel:
        known = sorted(manager.find_kernel_specs())
        raise UsageError(
            f"The notebook's kernel {name!r} is not installed here{did_you_mean(name, known)}. Installed: "
            f"{', '.join(known) or 'none'}. Install it (python -m ipykernel install --user --name {name}), or choose "
            f"another kernel in the notebook."
        ) from None
    if spec.language.lower() != "python":
        raise UsageError(f"The notebook's kernel {name!r} runs {spec.language}; only Python notebooks can be pipelines.")
    first = spec.argv[0]
    # jupyter_client runs a bare `python` with the interpreter that it runs in.
    return sys.executable if re.fullmatch(r"python[\d.]*", first) else first
