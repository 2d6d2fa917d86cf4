"""What `ambient lab apply` says of the objects that it took."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lab.documents import Key
from mesh.catalogue.changes import ObjectKey
from mesh.policy.conditions import Condition, Reason

# The kinds whose objects the mesh has a status for.
_JUDGED = frozenset({"AuthorizationPolicy", "PeerAuthentication", "ServiceEntry"})
# Asked for by whoever wrote the policy: nothing to be warned of.
_INTENDED = frozenset({Reason.DRY_RUN})


def applied_lines(keys: Iterable[Key]) -> Iterator[str]:
    return (f"{_name(key)} applied" for key in dict.fromkeys(keys))


def judged(keys: Iterable[Key]) -> tuple[Key, ...]:
    """Those of which the mesh says what it does with them."""
    return tuple(dict.fromkeys(key for key in keys if key[0] in _JUDGED))


def warnings(keys: Iterable[Key], conditions: Mapping[ObjectKey, Sequence[Condition]]) -> Iterator[str]:
    """Names what the mesh does not do as it is written, and what it does instead.

    Args:
        conditions: of the objects that have a status.
    """
    for key in dict.fromkeys(keys):
        told = [one for one in conditions.get(ObjectKey(*key), ()) if not one.status and one.reason not in _INTENDED]
        if told:
            yield f"{_name(key)}: not as it is written: {'; '.join(one.message for one in told)}"


def _name(key: Key) -> str:
    kind, namespace, name = key
    return f"{kind.lower()}/{name}" + (f" in {namespace}" if kind not in ("Namespace", "Node") and namespace != "default" else "")
