"""Whatever a peer writes into :authority: an address and a port, or RemoteProtocolError with 400."""

from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import RemoteProtocolError
from ztunnel.authority import parse_authority


@given(st.text(max_size=100) | st.text(alphabet="0123456789abcdef:.[]%", max_size=60))
def test_any_text(text: str) -> None:
    try:
        address = parse_authority(text)
    except RemoteProtocolError as error:
        status = error.status
    else:
        # What is taken is taken as nothing else: printing and reading again changes nothing.
        assert parse_authority(str(address)) == address
        assert 0 < address.port < 65536
        assert address.ip.version == 4 or text.startswith("[")
        return
    assert status == 400
