"""How much one policy may hold, where it is written and where it arrives: what the control plane accepts, a node proxy takes."""

from collections.abc import Iterable
from dataclasses import fields

from mesh.policy.model import Match, Rule

# An object of Kubernetes is at most 1.5 MiB (etcd's limit), and a value in it hardly under 20 bytes: more than this is an attack on memory.
MAX_PARTS = 65_536
# An identity is a DNS name and two Kubernetes names: under 600 characters.
MAX_TEXT_LENGTH = 1024

_MATCH_FIELDS = tuple(field.name for field in fields(Match))


def count_parts(rules: Iterable[Rule]) -> int:
    """Counts rules, clauses, matches and values."""
    return sum(
        1 + sum(1 + sum(1 + sum(len(getattr(match, name)) for name in _MATCH_FIELDS) for match in clause) for clause in rule)
        for rule in rules
    )


def is_plain(text: str) -> bool:
    """Tells whether a name or pattern may be part of a policy: not empty, bounded, and fit for a log line."""
    return 0 < len(text) <= MAX_TEXT_LENGTH and text.isprintable() and " " not in text
