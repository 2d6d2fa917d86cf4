"""PEM files that hold several things, one after the other."""

import re


def split_pem(content: bytes, label: str) -> list[bytes]:
    """Returns the blocks of a kind, in order; any text may stand between them.

    The libraries' own readers pass over what does not end: half a file would be fewer certificates, and nobody would know.

    Args:
        label: what stands after BEGIN and END.
    Raises:
        ValueError: there is a block of another kind, or one that is not whole.
    Source: RFC 7468, section 2.
    """
    # Between its two lines a block has none that begins with a hyphen.
    lines = rb"^-----BEGIN %b-----[ \t\r]*\n(?:[^-\n][^\n]*\n|\n)*-----END %b-----[ \t\r]*$" % ((label.encode(),) * 2)
    block = re.compile(lines, re.MULTILINE)
    if re.search(rb"^-", block.sub(b"", content), re.MULTILINE):
        raise ValueError(f"something else than whole blocks of {label}")
    return block.findall(content)
