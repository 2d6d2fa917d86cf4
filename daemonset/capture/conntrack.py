"""What conntrack remembers of captured connections, in the calling thread's network namespace.

It outlives them by minutes, and outlives capture: a port that comes around again would then meet an address translation, or a way
back over lo, that is no longer there.
"""

import errno
import socket

from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket  # type: ignore[import-untyped]

from daemonset.capture.plan import REDIRECTED_MARK
from ebpf.layout import LOOP_MARK, MARK_MASK

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
# Mark and mask of those that were redirected, and of ztunnel's own with the application.
_OURS = ((REDIRECTED_MARK, REDIRECTED_MARK), (LOOP_MARK, MARK_MASK))
# A kernel that does not let conntrack be written to: its memory ends by itself.
_UNABLE = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT})


def forget_captured(family: int) -> None:
    """Makes conntrack forget the captured connections of an IP version.

    Raises:
        OSError: the kernel refused.
    """
    try:
        with NFCTSocket(nfgen_family=_FAMILIES[family]) as conntrack:
            for mark, mask in _OURS:
                conntrack.flush(mark=mark, mark_mask=mask)
    except NetlinkError as error:
        if error.code not in _UNABLE:
            raise OSError(error.code, f"forget connections: {error}") from error
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
