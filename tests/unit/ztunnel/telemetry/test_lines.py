"""Fields cannot be mistaken for others, whatever is in them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.telemetry.lines import FORMATS, render_line

values = st.text() | st.integers() | st.booleans() | st.floats(allow_nan=False) | st.lists(st.text())


def test_plain_and_json() -> None:
    fields = (("pod", "shop/client"), ("reason", "two words"), ("count", 3), ("none", None), ("empty", ""), ("list", ["a", "b"]))
    assert render_line(FORMATS["plain"], "T", "info", "zds", "pod added", fields) == (
        'T\tinfo\tzds\tpod added\tpod=shop/client reason="two words" count=3 empty="" list="[\\"a\\", \\"b\\"]"\n'
    )
    assert render_line(FORMATS["json"], "T", "info", "zds", "pod added", fields) == (
        '{"time":"T","level":"info","scope":"zds","message":"pod added","pod":"shop/client",'
        '"reason":"two words","count":3,"empty":"","list":["a", "b"]}\n'
    )


@given(st.dictionaries(st.sampled_from("abc"), values))
def test_one_line_stays_one_line_and_one_value_one_value(fields: dict[str, object]) -> None:
    plain = render_line(FORMATS["plain"], "T", "info", "s", "e", fields.items())
    assert plain.count("\n") == 1
    assert plain.isascii()
    as_json = render_line(FORMATS["json"], "T", "info", "s", "e", fields.items())
    assert as_json.count("\n") == 1
    read = json.loads(as_json)
    assert {key: read[key] for key in fields} == fields
