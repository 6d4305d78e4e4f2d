"""Quantities as Kubernetes writes them, in which steps ask for cores and memory and people name sizes."""

from __future__ import annotations

import re

_SUFFIXES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
             "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}  # fmt: skip


def quantity(text: str | float) -> float:
    """A Kubernetes quantity as a number: `500m` is 0.5, `4Gi` is 4 * 2**30. Raises `ValueError` for any other text."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(m|[kMGTP]|[KMGTP]i)?", str(text).strip())
    if not found:
        raise ValueError(f"{text!r} is no quantity such as 2, 500m or 4Gi")
    number, suffix = float(found[1]), found[2] or ""
    return number / 1000 if suffix == "m" else number * _SUFFIXES[suffix]
