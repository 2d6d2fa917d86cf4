import pytest

from lab.options import Options
from mesh.errors import ConfigError


@pytest.mark.parametrize("options", [{"nodes": 0}, {"nodes": 101}, {"capture": "magic"}])
def test_what_cannot_be_is_refused(options: dict[str, object]):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Options(**options)
