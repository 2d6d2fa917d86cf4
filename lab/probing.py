"""Asks a program inside a network namespace over HTTP."""

import http.client
from dataclasses import dataclass

from lab.netns import inside

# Programs answer at once or are busy; a probe that waits longer holds up everything that waits for it.
_TIME_LIMIT_S = 2.0
_MAX_ANSWER_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def get(netns: str, port: int, path: str) -> Answer | None:
    """GETs from 127.0.0.1 of a namespace; None: nobody answers."""
    try:
        return inside(netns, lambda: _get(port, path))
    except (OSError, http.client.HTTPException):
        return None


def _get(port: int, path: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIME_LIMIT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read(_MAX_ANSWER_BYTES))
    finally:
        connection.close()


def is_ready(netns: str, port: int) -> bool:
    answer = get(netns, port, "/healthz/ready")
    return answer is not None and answer.status == http.client.OK
