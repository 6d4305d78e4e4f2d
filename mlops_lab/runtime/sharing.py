"""Which variables travel together: those that share an object which can change, or memory."""

from __future__ import annotations

from .pack import Packed, overlaps


def partition(packed: dict[str, Packed]) -> list[tuple[str, ...]]:
    """Members that share an object which can change, or memory, in one group."""
    parent = {m: m for m in packed}

    def find(member: str) -> str:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    owner: dict[int, str] = {}
    for member, content in packed.items():
        for identity in content.mutable_ids():
            first = owner.setdefault(identity, member)
            if first != member:
                parent[find(member)] = find(first)
    holder = {id(value): member for member, content in packed.items() for _, _, value in content.memory()}
    everything = [piece for content in packed.values() for piece in content.memory()]
    for one, other in overlaps(everything):
        parent[find(holder[id(other)])] = find(holder[id(one)])
    groups: dict[str, list[str]] = {}
    for member in packed:
        groups.setdefault(find(member), []).append(member)
    return [ordered(members) for members in groups.values()]


def ordered(members: list[str]) -> tuple[str, ...]:
    """Definitions first: unpickling an instance may call the methods of its class."""
    return tuple(sorted(members, key=lambda m: (not m.startswith("def:"), m)))
