"""The revocation lists for what somebody has revoked: signed anew when they are no longer right, and not before. No I/O."""

import datetime as dt

from controlplane.authority import Issuer
from controlplane.revocation import MAX_REVOKED, read_serials, sign_lists, still_good
from mesh.errors import ConfigError

# A serial has 40 digits; the rest of a line is for colons and a comment.
MAX_REVOKED_LENGTH = MAX_REVOKED * 200
# A list is signed anew at half of its fortnight; to read 10,000 serials takes 50 ms.
_CHECK_AGAIN = dt.timedelta(hours=1)


class Revoked:
    """Remembers what it has found to fit together."""

    def __init__(self) -> None:
        # What is revoked, published and trusted, when it was last seen to fit together, and when that was.
        self._found_good: tuple[bytes, bytes, tuple[Issuer, ...]] | None = None
        self._checked = dt.datetime.min.replace(tzinfo=dt.UTC)

    def lists(self, content: bytes, name: str, published: bytes, trusted: tuple[Issuer, ...], now: dt.datetime) -> bytes:
        """Returns the lists for what is revoked: those that are published while they are right.

        Args:
            content: serials, see controlplane.revocation.read_serials.
            name: where they stand, for the error.
        Raises:
            ConfigError: they cannot be read.
        """
        found = (content, published, trusted)
        if found == self._found_good and now - self._checked < _CHECK_AGAIN:
            return published
        try:
            serials = read_serials(content.decode(), name)
        except UnicodeDecodeError:
            raise ConfigError(name, "not UTF-8", "serials in hexadecimal, one a line") from None
        if not still_good(published, trusted, serials, now):
            return sign_lists(trusted, serials, now)
        self._found_good, self._checked = found, now
        return published
