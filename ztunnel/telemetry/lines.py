"""How a log line looks, for people (plain) and for machines (json). Pure."""

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@[]+,~%*()<>")

Fields = Iterable[tuple[str, object]]


class LineFormat(Protocol):
    """A line is a head, which names its first field, and further fields, and `end`. Fields may be rendered long before the line."""

    end: str

    def head(self, time: str, level: str, scope: str, event: str) -> str: ...

    def first(self, key: str) -> tuple[str, str]:
        """Returns what stands before and after the first value, one that needs no quoting: an address."""

    def next(self, key: str) -> tuple[str, str]:
        """Returns the same for any later value."""

    def numbers(self, sent_bytes: int, received_bytes: int, duration_ms: int) -> str:
        """Returns what every connection that ends has, as later fields."""

    def fields(self, fields: Fields) -> str:
        """Returns later fields, quoted as need be; values of None are left out."""


class PlainFormat:
    """Time, level, scope and event between tabs; then `key=value` between spaces."""

    end = "\n"

    def head(self, time: str, level: str, scope: str, event: str) -> str:
        return f"{time}\t{level}\t{scope}\t{event}\t"

    def first(self, key: str) -> tuple[str, str]:
        return f"{key}=", ""

    def next(self, key: str) -> tuple[str, str]:
        return f" {key}=", ""

    def numbers(self, sent_bytes: int, received_bytes: int, duration_ms: int) -> str:
        return f" bytes_sent={sent_bytes} bytes_recv={received_bytes} duration={duration_ms}ms"

    def fields(self, fields: Fields) -> str:
        return "".join(f" {key}={_plain(value)}" for key, value in fields if value is not None)


class JsonFormat:
    """One object a line."""

    end = "}\n"

    def head(self, time: str, level: str, scope: str, event: str) -> str:
        return f'{{"time":"{time}","level":"{level}","scope":{json.dumps(scope)},"message":{json.dumps(event)}'

    def first(self, key: str) -> tuple[str, str]:
        return f',"{key}":"', '"'

    def next(self, key: str) -> tuple[str, str]:
        return f',"{key}":"', '"'

    def numbers(self, sent_bytes: int, received_bytes: int, duration_ms: int) -> str:
        return f',"bytes_sent":{sent_bytes},"bytes_recv":{received_bytes},"duration":"{duration_ms}ms"'

    def fields(self, fields: Fields) -> str:
        return "".join(f",{json.dumps(key)}:{json.dumps(value, default=str)}" for key, value in fields if value is not None)


def render_line(style: LineFormat, time: str, level: str, scope: str, event: str, fields: Fields) -> str:
    """Returns one whole line."""
    return style.head(time, level, scope, event) + style.fields(fields).removeprefix(" ") + style.end


FORMATS: Mapping[str, LineFormat] = {"plain": PlainFormat(), "json": JsonFormat()}


def _plain(value: object) -> str:
    """Quotes whatever could be mistaken for the end of a value or of the line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str) if isinstance(value, list | dict | bool) else str(value)
    return text if text and _BARE.issuperset(text) else json.dumps(text)
