"""What every text and list from the wire has to keep to."""

from mesh.errors import ConfigError

# A uid joins a cluster, two kinds of names and a path: several DNS names of up to 253 characters each.
MAX_NAME_LENGTH = 1024


def text(key: str, value: str, required: bool = False) -> str:
    """Checks a name that ends in log lines and keys: printable, without spaces, bounded."""
    if required and not value:
        raise ConfigError(key, value, "a name that is not empty")
    if len(value) > MAX_NAME_LENGTH or not value.isprintable() or " " in value:
        raise ConfigError(key, value[:64], f"at most {MAX_NAME_LENGTH} printable characters without spaces")
    return value


def segment(key: str, value: str) -> str:
    """Checks a name that becomes one part of an identity or of a key: a "/" in it would forge another."""
    if "/" in value:
        raise ConfigError(key, value[:64], "a name without '/'")
    return text(key, value, required=True)


def check_size(key: str, size: int, limit: int) -> None:
    if size > limit:
        raise ConfigError(key, size, f"at most {limit} entries")
