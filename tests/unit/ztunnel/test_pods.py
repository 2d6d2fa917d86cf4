"""The books of this node's pods."""

from ztunnel.pods import LocalPods, PodInfo

CLIENT = PodInfo("uid-1", "client", "shop", "buyer")


def make() -> LocalPods:
    return LocalPods("Kubernetes", "cluster.local")


def test_a_pod_is_found_by_each_of_its_names() -> None:
    pods = make()
    pod = pods.describe(CLIENT, (4, 100))
    assert pods.by_uid("uid-1") is None, "describing is not keeping"
    pods.put(pod)
    assert str(pod.identity) == "spiffe://cluster.local/ns/shop/sa/buyer"
    assert pods.by_uid("uid-1") is pods.by_number(pod.number) is pods.by_workload("Kubernetes//Pod/shop/client") is pod
    pods.remove(pod)
    assert (pods.by_uid("uid-1"), pods.by_number(pod.number), pods.by_workload(pod.workload_uid), len(pods)) == (None, None, None, 0)


def test_numbers_are_never_used_twice() -> None:
    pods = make()
    first = pods.describe(CLIENT, (4, 100))
    pods.put(first)
    pods.remove(first)
    assert pods.describe(CLIENT, (4, 100)).number != first.number


def test_the_newer_of_two_pods_of_one_name_holds_it() -> None:
    pods = make()
    old = pods.describe(CLIENT, (4, 100))
    new = pods.describe(PodInfo("uid-2", "client", "shop", "buyer"), (4, 101))
    pods.put(old)
    pods.put(new)
    pods.remove(old)
    assert pods.by_workload("Kubernetes//Pod/shop/client") is new


def test_who_was_not_named() -> None:
    pods = make()
    for uid in ("a", "b", "c"):
        pods.put(pods.describe(PodInfo(uid, uid, "shop", "default"), (4, 1)))
    assert [pod.info.uid for pod in pods.absent_from({"b", "x"})] == ["a", "c"]
    assert {str(identity) for identity in pods.identities()} == {"spiffe://cluster.local/ns/shop/sa/default"}
