"""The console script: order matters here, and nothing is imported before its turn."""

import os
import sys


def main() -> None:
    """Runs ztunnel. Exits with 2, and every mistake on standard error, when the settings are wrong."""
    # structlog draws tracebacks with rich when it finds it: 5 MB on every node for what we render as text.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from mesh.errors import ConfigError, ConfigErrors
    from ztunnel.config import parse

    try:
        settings = parse(os.environ)
        # From here on ssl may be imported: what OpenSSL reads when it is loaded has to be set above.
        import uvloop

        from ztunnel.process import serve

        uvloop.run(serve(settings))
    except (ConfigError, ConfigErrors) as error:
        print(error, file=sys.stderr)  # the log is not there yet
        sys.exit(2)


if __name__ == "__main__":
    main()
