"""Prints what a URL answers: `python3 -m lab.sample.get URL`. For machines without curl."""

import sys
import urllib.error
import urllib.request

_TIME_LIMIT_S = 5


def main() -> None:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=_TIME_LIMIT_S) as answer:  # noqa: S310 the user's own URL
            sys.stdout.write(answer.read().decode())
    except (OSError, urllib.error.URLError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()
