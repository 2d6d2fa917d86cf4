"""What one ztunnel is told, as transcripts; hypothesis over orders of events."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemonset.pods import PodInfo
from daemonset.zds.session import RETRY_S, AddRequest, DeleteRequest, Enrolled, Request, Session, SnapshotRequest


def pod(uid: str, epoch: int = 1) -> Enrolled:
    return Enrolled(PodInfo(uid, uid, "shop", "default"), 9, epoch)


def converse(session: Session, pods: dict[str, Enrolled], now_s: float = 0.0) -> list[Request]:
    """Everything that is to be said, each acknowledged."""
    said = []
    while (request := session.next_request(pods, now_s)) is not None:
        said.append(request)
        session.acknowledge(request, "", now_s)
        assert len(said) < 100
    return said


def test_a_new_ztunnel_gets_everything_and_then_the_snapshots_end() -> None:
    a, b = pod("a"), pod("b")
    assert converse(Session(), {"a": a, "b": b}) == [AddRequest(a), AddRequest(b), SnapshotRequest()]


def test_afterwards_it_gets_changes() -> None:
    session, a, b = Session(), pod("a"), pod("b")
    converse(session, {"a": a})
    assert converse(session, {"a": a, "b": b}) == [AddRequest(b)]
    assert converse(session, {"b": b}) == [DeleteRequest("a")]


def test_a_pod_that_was_registered_anew_is_first_deleted() -> None:
    session = Session()
    converse(session, {"a": pod("a", 1)})
    assert converse(session, {"a": pod("a", 2)}) == [DeleteRequest("a"), AddRequest(pod("a", 2))]


def test_a_refused_pod_holds_up_nothing_and_is_tried_again() -> None:
    session, pods = Session(), {"a": pod("a"), "b": pod("b")}
    session.acknowledge(AddRequest(pods["a"]), "no room", 5.0)
    assert converse(session, pods, 5.1) == [AddRequest(pods["b"]), SnapshotRequest()]
    assert session.next_retry_s(5.1) == pytest.approx(RETRY_S - 0.1)
    assert converse(session, pods, 5.0 + RETRY_S) == [AddRequest(pods["a"])]
    assert session.next_retry_s(9.0) is None


def test_refusals_of_pods_that_are_gone_are_forgotten() -> None:
    session = Session()
    session.acknowledge(AddRequest(pod("a")), "no room", 5.0)
    session.forget({})
    assert session.refused == {}


def test_a_refused_delete_is_done_all_the_same() -> None:
    session = Session()
    converse(session, {"a": pod("a")})
    session.acknowledge(DeleteRequest("a"), "what pod?", 1.0)
    assert session.next_request({}, 1.0) is None


class Orders(RuleBasedStateMachine):
    """Pods come, go and come back while a ztunnel is told of them, which refuses some: it ends up with just what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.session, self.pods, self.epoch, self.now_s = Session(), {}, 0, 0.0
        self.served: dict[str, int] = {}
        self.complete = False

    @rule(uid=st.sampled_from("abc"))
    def register(self, uid: str) -> None:
        self.epoch += 1
        self.pods[uid] = pod(uid, self.epoch)

    @rule(uid=st.sampled_from("abc"))
    def withdraw(self, uid: str) -> None:
        self.pods.pop(uid, None)
        self.session.forget(self.pods)

    @rule(refuse=st.booleans())
    def say(self, refuse: bool) -> None:
        request = self.session.next_request(self.pods, self.now_s)
        match request:
            case AddRequest(added):
                assert added.info.uid not in self.served, "added twice"
                if refuse:
                    self.session.acknowledge(request, "no", self.now_s)
                    return
                self.served[added.info.uid] = added.epoch
            case DeleteRequest(uid):
                del self.served[uid]
            case SnapshotRequest():
                assert not self.complete, "one end of a snapshot"
                self.complete = True
            case None:
                return
        self.session.acknowledge(request, "", self.now_s)

    @rule()
    def wait(self) -> None:
        self.now_s += RETRY_S

    @precondition(lambda self: self.session.next_request(self.pods, self.now_s + RETRY_S) is None)
    @invariant()
    def all_said(self) -> None:
        assert self.complete
        assert self.served == {uid: one.epoch for uid, one in self.pods.items()}


TestOrders = Orders.TestCase
