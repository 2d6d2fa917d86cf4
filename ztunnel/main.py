"""The console script: order matters here, and nothing is imported before its turn."""

import os
import sys

# Source: sysexits.h, EX_CONFIG.
EXIT_CONFIG = 78


def main() -> int:
    """Runs ztunnel until SIGTERM or SIGINT. Returns the exit status; what is wrong with the settings goes to standard error."""
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
        sys.stderr.write(f"ztunnel: the settings are wrong\n{error}\n")
        return EXIT_CONFIG
    except OSError as error:
        sys.stderr.write(f"ztunnel: cannot start: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
