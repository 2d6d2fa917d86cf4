"""Where objects are in the API."""

import pytest

from runtime.kubernetes.resources import LEASES, NODES, PODS, TOKEN_REVIEWS, Resource


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (PODS, (), "/api/v1/pods"),
        (PODS, ("shop",), "/api/v1/namespaces/shop/pods"),
        (PODS, ("shop", "a", "status"), "/api/v1/namespaces/shop/pods/a/status"),
        (NODES, ("", "n1"), "/api/v1/nodes/n1"),
        (NODES, ("ignored", "n1"), "/api/v1/nodes/n1"),
        (LEASES, ("shop", "a"), "/apis/coordination.k8s.io/v1/namespaces/shop/leases/a"),
        (TOKEN_REVIEWS, (), "/apis/authentication.k8s.io/v1/tokenreviews"),
        (PODS, ("shop", "../secrets/x?y"), "/api/v1/namespaces/shop/pods/..%2Fsecrets%2Fx%3Fy"),
    ],
)
def test_paths(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    assert resource.path(*arguments) == path


def test_names() -> None:
    assert (PODS.full_name, PODS.api_version) == ("pods", "v1")
    assert (LEASES.full_name, LEASES.api_version) == ("leases.coordination.k8s.io", "coordination.k8s.io/v1")
