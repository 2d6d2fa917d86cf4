"""Reads a file of JSON as `kubectl get -o json` prints it: one document, as strict and as bounded as our YAML."""

import json
from typing import Any, NoReturn

from mesh.errors import ConfigError
from mesh.yaml_documents import MAX_FILE_CHARACTERS, Document

FEWER_LEVELS = "a document of fewer levels"


def read_json(file: str, text: str) -> Document | ConfigError | None:
    """Returns the document, what is wrong with it, or None where the file is empty.

    Args:
        file: its name, for the error; the key is "file:1:line N".
    """
    if len(text) > MAX_FILE_CHARACTERS:
        return ConfigError(file, len(text), f"at most {MAX_FILE_CHARACTERS} characters")
    if not text.strip():
        return None
    try:
        return Document(1, json.loads(text, object_pairs_hook=_mapping, parse_constant=_no_number))
    except json.JSONDecodeError as error:
        return ConfigError(f"{file}:1:line {error.lineno}", error.msg, "valid JSON")
    except ValueError as error:
        return ConfigError(f"{file}:1", None, str(error))
    except RecursionError:
        return ConfigError(f"{file}:1", None, FEWER_LEVELS)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("keys that stand in their mapping once")
    return mapping


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"no number such as {text}")
