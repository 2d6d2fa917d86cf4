"""The flags that the ecosystem's dashboards read."""

import pytest

from ztunnel.engine.interface import Cause
from ztunnel.telemetry.labels import response_flags


@pytest.mark.parametrize(
    ("cause", "flags"),
    [
        (Cause.NONE, "-"),
        (Cause.CLIENT_RESET, "-"),
        (Cause.CONNECT_REFUSED, "CONNECT"),
        (Cause.TLS_FAILURE, "TLS_FAILURE"),
        (Cause.H2_FAILURE, "H2_HANDSHAKE_FAILURE"),
        (Cause.DENIED, "DENY"),
        (Cause.CERTIFICATE_REVOKED, "CERT_REVOKED"),
    ],
)
def test_response_flags(cause: Cause, flags: str) -> None:
    assert response_flags(cause) == flags
