"""What the plugin asks, and how it is answered: a line of JSON each. Pure."""

import json
import re
from dataclasses import dataclass

MAX_QUESTION_BYTES = 16_384
# Of the questions that this agent understands. A plugin of the version before or after asks the same.
PROTOCOL = 1
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_UID = re.compile(r"[A-Za-z0-9-]{1,128}")


@dataclass(frozen=True, slots=True)
class Question:
    """A pod that is about to start.

    Args:
        netns: path of its network namespace, as the node's runtime sees it.
        uid: "" where the runtime does not tell.
    """

    netns: str
    namespace: str
    name: str
    uid: str


class BadQuestion(ValueError):
    """Says what is wrong with it."""


def parse_question(line: bytes) -> Question:
    """Raises BadQuestion."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        raise BadQuestion("it is no JSON") from None
    if not isinstance(data, dict):
        raise BadQuestion("it is no JSON object")
    if data.get("protocol") != PROTOCOL or data.get("command") != "ADD":
        raise BadQuestion(f"the plugin and the agent are of versions too far apart: expected protocol {PROTOCOL}, ADD")
    netns, namespace, name, uid = (data.get(key) for key in ("netns", "namespace", "name", "uid"))
    if not isinstance(netns, str) or not netns.startswith("/") or "\0" in netns:
        raise BadQuestion("netns is no absolute path")
    if not isinstance(namespace, str) or not _NAME.fullmatch(namespace) or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadQuestion("namespace and name are not those of a pod")
    if not isinstance(uid, str) or (uid and not _UID.fullmatch(uid)):
        raise BadQuestion("uid is none")
    return Question(netns, namespace, name, uid)


def answer(error: str) -> bytes:
    """Args:
    error: "" when the pod may start.
    """
    return json.dumps({"error": error[:4096]}).encode() + b"\n"
