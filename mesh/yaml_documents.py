"""Reads multi-document YAML as Kubernetes does: the data that JSON has, bounded, and every error with its line.

The data is built from the parser's events and not by a loader: aliases are counted as if they were written out before anything
is expanded, nothing recurses, no tag makes an object, and a key stands in a mapping once.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from mesh.errors import ConfigError

# The list of a thousand pods, as kubectl prints it, is some 8 MiB and 600,000 nodes.
MAX_FILE_CHARACTERS = 16 * 2**20
MAX_NODES = 1_000_000
# A pod's deepest field lies a dozen levels down.
MAX_DEPTH = 64

# Source: YAML 1.1, its plain decimal forms. Whatever counts as a number here is quoted by every writer that means a text; "1e3" and
# "007" are not (a commit or a version may look so), and stay texts.
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+][0-9]{1,3})?|\.[0-9]+([eE][-+][0-9]{1,3})?")
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
# Source: YAML 1.1, which Kubernetes follows here: an unquoted "no" is no text.
_TRUE = frozenset(spelling for word in ("true", "yes", "on") for spelling in (word, word.capitalize(), word.upper()))
_FALSE = frozenset(spelling for word in ("false", "no", "off") for spelling in (word, word.capitalize(), word.upper()))
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")
_PLAIN_TAGS = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", "!")
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file that is not empty; `number` counts from 1."""

    number: int
    data: object


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet; `before` counts the nodes that came before it."""

    container: dict[str, Any] | list[Any]
    anchor: str | None
    before: int
    key: str | None = None
    merges: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Builder:
    """Turns the events of one document into data. `nodes` counts on from the documents before it, aliases written out."""

    nodes: int
    data: object = None
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str | None, tuple[object, int]] = field(default_factory=dict)

    def take(self, event: yaml.Event) -> None:
        """Raises ValueError with what was expected."""
        if isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            self._count(1)
            self._finish(self._scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()

    def _alias(self, anchor: str | None) -> None:
        if anchor not in self.anchors:
            raise ValueError("an anchor that is complete before its alias")
        value, nodes = self.anchors[anchor]
        self._count(nodes)
        self._place(value)

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            raise ValueError(f"no tag such as {event.tag[:64]!r}")
        if len(self.open) == MAX_DEPTH:
            raise ValueError(f"at most {MAX_DEPTH} levels")
        self.open.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, self.nodes))
        self._count(1)

    def _end(self) -> None:
        done = self.open.pop()
        for merged in done.merges:
            for key, value in merged.items():
                cast(dict[str, Any], done.container).setdefault(key, value)
        self._finish(done.container, self.nodes - done.before, done.anchor)

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        top = self.open[-1] if self.open else None
        is_key = top is not None and isinstance(top.container, dict) and top.key is None
        if is_key or event.tag in _STRING_TAGS or (event.tag is None and not event.implicit[0]):
            return event.value
        if event.tag is not None:
            raise ValueError(f"no tag such as {event.tag[:64]!r}")
        return _plain(event.value)

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise ValueError(f"at most {MAX_NODES} nodes in a file, aliases written out")

    def _finish(self, value: object, nodes: int, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = value, nodes
        self._place(value)

    def _place(self, value: object) -> None:
        if not self.open:
            self.data = value
            return
        top = self.open[-1]
        if isinstance(top.container, list):
            top.container.append(value)
        elif top.key is None:
            top.key = _new_key(top.container, value)
        else:
            _set(top.container, top.key, value, top.merges)
            top.key = None


def read_documents(file: str, text: str) -> list[Document | ConfigError]:
    """Reads the documents of a file, and what is wrong with the others, in their order.

    Broken syntax ends the file, other errors their document alone.
    Args:
        file: its name, for the errors; their keys are "file:document number:line N".
    """
    if len(text) > MAX_FILE_CHARACTERS:
        return [ConfigError(file, len(text), f"at most {MAX_FILE_CHARACTERS} characters")]
    read: list[Document | ConfigError] = []
    number, nodes = 0, 0
    events = _events(text)
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                number += 1
                document, nodes = _read_document(events, file, number, nodes)
                read += [] if document is None else [document]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        read.append(ConfigError(f"{file}:{max(number, 1)}:line {line}", error.problem, "valid YAML"))
    except yaml.YAMLError as error:
        read.append(ConfigError(f"{file}:{max(number, 1)}", str(error), "valid YAML"))
    return read


def _events(text: str) -> Iterator[yaml.Event]:
    # libyaml reads a str through its UTF-8 bytes; a lone surrogate has none.
    try:
        yield from yaml.parse(text, Loader=yaml.CSafeLoader)
    except UnicodeEncodeError:
        raise yaml.YAMLError("a lone surrogate") from None


def _read_document(events: Iterator[yaml.Event], file: str, number: int, nodes: int) -> tuple[Document | ConfigError | None, int]:
    """Returns the document, its error, or None where it is empty; and the nodes of the file so far."""
    builder = _Builder(nodes)
    failure: ConfigError | None = None
    for event in events:
        if isinstance(event, yaml.DocumentEndEvent):
            break
        try:
            if failure is None:
                builder.take(event)
        except ValueError as error:
            line = event.start_mark.line + 1 if event.start_mark else "?"
            failure = ConfigError(f"{file}:{number}:line {line}", str(getattr(event, "value", ""))[:64], str(error))
    if failure is not None:
        return failure, nodes
    return (None if builder.data is None else Document(number, builder.data)), builder.nodes


def _plain(text: str) -> object:
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _new_key(mapping: dict[str, Any], key: object) -> str:
    if isinstance(key, str) and key not in mapping:
        return key
    raise ValueError("a key that is a text, and stands in its mapping once")


def _set(mapping: dict[str, Any], key: str, value: object, merges: list[dict[str, Any]]) -> None:
    if key != _MERGE:
        mapping[key] = value
        return
    merged: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(one, dict) for one in merged):
        raise ValueError("a mapping, or a list of mappings, to merge")
    merges.extend(merged)
