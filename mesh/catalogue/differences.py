"""From two readings of all objects to the changes between them."""

from collections.abc import Iterator, Mapping

from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.kubernetes import Object


def changes_between(before: Mapping[ObjectKey, Object], after: Mapping[ObjectKey, Object]) -> Iterator[ObjectChange]:
    """Yields what leads from one reading to the next: first what is gone, then what is new or different.

    Objects that are the same object are not compared, so that a reading which takes over what did not change is diffed at little cost.
    """
    for key in before:
        if key not in after:
            yield ObjectChange(key, None)
    for key, value in after.items():
        known = before.get(key)
        if known is not value and known != value:
            yield ObjectChange(key, value)
