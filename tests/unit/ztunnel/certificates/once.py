"""One call to a CA, with a connection of its own."""

from collections.abc import Callable

from mesh.identity import Identity
from ztunnel.certificates.authority import CertificateClient
from ztunnel.certificates.request import Certificate
from ztunnel.certificates.trust import Trust
from ztunnel.config import ControlPlaneSettings


async def fetch_once(settings: ControlPlaneSettings, identity: Identity, trust: Callable[[], Trust]) -> Certificate:
    async with CertificateClient(settings, trust) as client:
        return await client.fetch(identity)
