"""The console script: order matters here, and nothing is imported before its turn."""

import os
import sys
from pathlib import Path


def main() -> int:
    """Runs ztunnel until SIGTERM or SIGINT. Returns the exit status; what is wrong with the settings goes to standard error."""
    # structlog draws tracebacks with rich when it finds it: 5 MB on every node for what we render as text.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from mesh.errors import ConfigError, ConfigErrors
    from ztunnel.config import parse

    # What OpenSSL reads when it is loaded; whoever runs ztunnel may have a configuration of their own.
    os.environ.setdefault("OPENSSL_CONF", str(Path(__file__).with_name("openssl.cnf")))
    try:
        settings = parse(os.environ)
        # Only from here on may ssl be imported.
        import uvloop

        from ztunnel.process import serve

        uvloop.run(serve(settings))
    except (ConfigError, ConfigErrors) as error:
        sys.stderr.write(f"ztunnel: the settings are wrong\n{error}\n")
        return os.EX_CONFIG
    except OSError as error:
        sys.stderr.write(f"ztunnel: cannot start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
