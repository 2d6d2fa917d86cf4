"""Whatever the API server answers: the only errors are those that the reader names."""

import datetime as dt
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controlplane.kubernetes.authority_secret import decode_secret, read_kept
from controlplane.kubernetes.conditions import read_conditions, wanted_conditions
from controlplane.kubernetes.election import read_record
from controlplane.kubernetes.token_review import read_review
from mesh.errors import ApiError, BrokenAnswer, ConfigError, CredentialError
from mesh.kubernetes import AuthorizationPolicy, PeerAuthentication, Pod
from mesh.policy.conditions import accepted
from runtime.kubernetes.following import Change, Following, Name, status_error
from runtime.kubernetes.objects import ObjectReader
from runtime.kubernetes.resources import PODS
from runtime.kubernetes.watch_lines import WatchLines

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
# The words that mean something somewhere, so that a search finds the way in.
WORDS = st.sampled_from(
    [
        "metadata",
        "items",
        "kind",
        "name",
        "namespace",
        "resourceVersion",
        "continue",
        "type",
        "object",
        "ADDED",
        "MODIFIED",
        "DELETED",
        "BOOKMARK",
        "ERROR",
        "Pod",
        "PodList",
        "status",
        "spec",
        "conditions",
        "observedGeneration",
        "lastTransitionTime",
        "holderIdentity",
        "leaseDurationSeconds",
        "authenticated",
        "user",
        "username",
        "audiences",
        "extra",
        "istio-ca",
        "system:serviceaccount:mesh:ambient",
        "authentication.kubernetes.io/node-name",
        "data",
        "root-key.pem",
        "rotation-1.json",
        "code",
        "reason",
        "message",
        "details",
        "causes",
        "selector",
        "matchLabels",
        "action",
        "DENY",
        "rules",
        "targetRefs",
        "mtls",
        "managedFields",
        "1",
        "9",
    ]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)
OBJECT = st.dictionaries(WORDS, JSON, max_size=5)


@given(OBJECT, st.lists(OBJECT, max_size=3))
def test_lists_and_events(page: dict[str, Any], events: list[dict[str, Any]]) -> None:
    following = Following((PODS,))
    try:
        following.take_page(page)
    except BrokenAnswer as error:
        following.failed(error)
    for event in events:
        before = dict(following.known)
        try:
            following.take_event(event)
        except (BrokenAnswer, ApiError) as error:
            assert following.known == before
            following.failed(error)
        following.step(0.5)


@given(st.lists(st.binary(max_size=20) | OBJECT.map(lambda value: json.dumps(value).encode() + b"\n"), max_size=5))
def test_streams(chunks: list[bytes]) -> None:
    lines = WatchLines(max_line_bytes=200)
    try:
        for chunk in chunks:
            assert all(isinstance(one, dict) for one in lines.feed(chunk))
        lines.end()
    except BrokenAnswer:
        pass


@given(OBJECT)
def test_refusals(status: dict[str, Any]) -> None:
    assert status_error(500, status).status is not None


@given(OBJECT)
def test_objects(data: dict[str, Any]) -> None:
    for kind in (Pod, AuthorizationPolicy, PeerAuthentication):
        read = ObjectReader(kind).read(Change(Name("shop", "a"), data))
        # A policy counts for something whatever stands in it.
        assert kind is Pod or read.value is not None or "spec" in data


@given(OBJECT)
def test_what_is_read_of_single_objects(data: dict[str, Any]) -> None:
    read_record(data)
    wanted_conditions([accepted()], *read_conditions(data), NOW)
    try:
        read_review(data, frozenset(("mesh/ambient",)))
    except CredentialError:
        pass
    try:
        read_kept(decode_secret(data, "s"), "s", {})
    except ConfigError:
        pass
