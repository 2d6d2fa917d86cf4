"""From the JSON of one kind to typed objects; what is wrong with one is logged once, and holds up no other."""

import structlog

from mesh.catalogue.changes import ObjectChange, ObjectKey
from mesh.errors import ConfigErrors
from mesh.kubernetes import Object
from mesh.unreadable import stand_in
from mesh.validation import read_object
from runtime.kubernetes.following import Change, Name

_log = structlog.get_logger()


class ObjectReader:
    """Reads the objects of one kind.

    An object that cannot be read counts as absent, and a policy as one that lets nobody in (see mesh.unreadable). The last good state of
    it does not stay: that would be a state which nobody who looks at the cluster can see.
    """

    def __init__(self, kind: type[Object]) -> None:
        self._kind = kind
        self._broken: dict[Name, str] = {}

    def read(self, change: Change) -> ObjectChange:
        key = ObjectKey(self._kind.__name__, *change.name)
        if change.data is None:
            self._broken.pop(change.name, None)
            return ObjectChange(key, None)
        try:
            value: Object | None = read_object(self._kind, change.data)
        except ConfigErrors as errors:
            value = stand_in(self._kind, *change.name, change.data, errors.errors[0].key)
            self._complain(key, change.name, errors, value)
        else:
            if self._broken.pop(change.name, None) is not None:
                _log.info("object_valid_again", **key._asdict())
        return ObjectChange(key, value)

    def _complain(self, key: ObjectKey, name: Name, errors: ConfigErrors, instead: Object | None) -> None:
        if self._broken.get(name) == str(errors):
            return
        self._broken[name] = str(errors)
        counts_as = "a policy that lets nobody in" if instead is not None else "absent"
        for one in errors.errors:
            _log.error("object_invalid", **key._asdict(), field=one.key, value=one.value, expected=one.expected, counts_as=counts_as)
