"""What the CNI plugin's socket may be sent, and the only error that it may raise."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st

from daemonset.cni.question import BadQuestion, parse_question


@given(st.binary(max_size=512) | st.text(max_size=200).map(str.encode))
@example(b"[" * 10_000)
@example(b'{"protocol": 1e999, "command": "ADD"}')
@example(b'{"protocol": 1, "command": "ADD", "netns": "/x", "namespace": "a", "name": "\\ud800", "uid": ""}')
def test_questions(line: bytes) -> None:
    with contextlib.suppress(BadQuestion):
        parse_question(line)
