"""What all tests share: how far hypothesis searches, and what needs root."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

NETNS_TESTS = Path(__file__).parent / "netns"

# No deadline: the machines that run this are shared, and a slow example is no wrong one.
settings.register_profile("bounded", max_examples=100, deadline=None, print_blob=True)
# For an hour of searching: pytest tests/fuzz --hypothesis-profile thorough --timeout 0
settings.register_profile("thorough", settings.get_profile("bounded"), max_examples=50_000)
settings.load_profile("bounded")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips the tests of tests/netns, saying why, where they cannot make network namespaces."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.path.is_relative_to(NETNS_TESTS):
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))
