"""What a token says, and what the API server says of it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.token_review import Claims, Reviewed, read_claims, read_review, review_of, rule_out
from mesh.errors import CredentialError

ACCOUNTS = frozenset(("mesh/ambient",))
SUBJECT = "system:serviceaccount:mesh:ambient"


def token(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"x.{payload}.y"


def answer(username: Any = SUBJECT, audiences: Any = ("istio-ca",), authenticated: Any = True, **extra: Any) -> dict[str, Any]:
    user = {"username": username, "extra": {f"authentication.kubernetes.io/{key.replace('_', '-')}": value for key, value in extra.items()}}
    return {"status": {"authenticated": authenticated, "user": user, "audiences": list(audiences) if audiences else audiences}}


def test_claims() -> None:
    assert read_claims(token(sub=SUBJECT, exp=17)) == Claims(SUBJECT, 17.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "a.b.c",
        "a.!.c",
        "a.é.c",
        token(),
        token(sub=7, exp=1),
        token(sub="x"),
        token(sub="x", exp=True),
        "a." + "[" * 9000 + ".c",
    ],
)
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(CredentialError):
        read_claims(text)


@given(st.text() | st.binary().map(lambda data: f"a.{base64.urlsafe_b64encode(data).decode()}.c"))
def test_any_text(text: str) -> None:
    try:
        read_claims(text)
    except CredentialError:
        pass


def test_tokens_that_rule_themselves_out_are_not_sent() -> None:
    rule_out(Claims(SUBJECT, 17), ACCOUNTS, 16)
    for claims in (Claims(SUBJECT, 17), Claims("system:serviceaccount:mesh:other", 99), Claims("mesh/ambient", 99), Claims("", 99)):
        with pytest.raises(CredentialError):
            rule_out(claims, ACCOUNTS, 17)


def test_what_is_asked() -> None:
    assert review_of("t") == {"spec": {"token": "t", "audiences": ["istio-ca"]}}


def test_who_it_is() -> None:
    assert read_review(answer(node_name=["n1"], pod_name=["ambient-x"]), ACCOUNTS) == Reviewed("n1", "mesh", "ambient-x")
    assert read_review(answer(pod_name=["ambient-x"]), ACCOUNTS) == Reviewed("", "mesh", "ambient-x")


REFUSED: list[dict[str, Any]] = [
    {},
    {"status": None},
    answer(authenticated=False, node_name=["n1"]),
    answer(authenticated="true", node_name=["n1"]),
    answer(audiences=(), node_name=["n1"]),
    answer(audiences=None, node_name=["n1"]),
    answer(audiences=("https://kubernetes.default.svc",), node_name=["n1"]),
    answer(username="mesh/ambient", node_name=["n1"]),
    answer(username="system:serviceaccount:mesh:other", node_name=["n1"]),
    answer(username="system:serviceaccount:mesh/ambient", node_name=["n1"]),
    answer(username=7, node_name=["n1"]),
    answer(),
    answer(node_name=["n1", "n2"]),
    answer(node_name="n1"),
    answer(node_name=["n\n1"]),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_whoever_is_not_vouched_for_is_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(CredentialError):
        read_review(refused, ACCOUNTS)
