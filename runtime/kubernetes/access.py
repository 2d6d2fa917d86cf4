"""Where the API server is and who we are there, as the `kubernetes` library reads it: from a pod's surroundings, or a kubeconfig.

Of that library nothing else is used: its generated models take eight times what plain JSON does.
"""

import asyncio
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import kubernetes
import yaml
from kubernetes.client.configuration import Configuration

from mesh.errors import ApiUnreachable, ConfigError

# The kubelet replaces a pod's token at four fifths of its life, an hour or more; the library itself reads the file once a minute.
REREAD_S = 10.0
_EXPECTED = "a pod with a service account's token, or KUBECONFIG"


@dataclass(slots=True)
class Access:
    """One reading of it; another follows when the server no longer takes it.

    Args:
        host: the address, as a URL without a path's end.
        tls: None: the address is plain HTTP.
        server_name: that the server's certificate must carry, where it is not the host's; "" where it is.
        proxy: "" for none.
    """

    host: str
    tls: ssl.SSLContext | None
    server_name: str
    proxy: str
    _configuration: Configuration
    _authorization: str | None = None
    _read_s: float = float("-inf")

    async def authorization(self) -> str | None:
        """Returns the header that says who we are; None: the connection does.

        Raises:
            ApiUnreachable: the token cannot be read.
        """
        if (now := time.monotonic()) - self._read_s >= REREAD_S:
            # It reads a file, and may run the program that a kubeconfig names.
            self._authorization, self._read_s = await asyncio.to_thread(_authorization, self._configuration), now
        return self._authorization


async def load_access(kubeconfig: Path | None) -> Access:
    """Reads the configuration.

    Args:
        kubeconfig: None: this process runs in a pod.
    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    return await asyncio.to_thread(_load, kubeconfig)


def _load(kubeconfig: Path | None) -> Access:
    configuration = Configuration()
    key, value = ("KUBECONFIG", str(kubeconfig)) if kubeconfig is not None else ("KUBERNETES_SERVICE_HOST", None)
    try:
        if kubeconfig is None:
            kubernetes.config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # not typed
        else:
            kubernetes.config.load_kube_config(str(kubeconfig), None, configuration, False)  # type: ignore[no-untyped-call]  # not typed
        tls = _tls(configuration) if configuration.host.startswith("https:") else None
    except kubernetes.config.ConfigException as error:
        raise ConfigError(key, value, f"{_EXPECTED} ({error})") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        # What the library lets through of a file that is no kubeconfig, and of certificates that are none.
        raise ConfigError(key, value, f"{_EXPECTED} ({type(error).__name__})") from None
    return Access(configuration.host.rstrip("/"), tls, configuration.tls_server_name or "", configuration.proxy or "", configuration)


def _tls(configuration: Configuration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _authorization(configuration: Configuration) -> str | None:
    try:
        # The library has called it by either name.
        header = configuration.get_api_key_with_prefix("BearerToken", "authorization")
    except (OSError, kubernetes.config.ConfigException) as error:
        raise ApiUnreachable(f"our own token cannot be read: {error}") from None
    header = (header or "").strip()
    if not header.isprintable():
        raise ApiUnreachable("our own token is none: it has lines")
    return header or None
