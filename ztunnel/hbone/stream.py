"""One stream of a connection."""

# `receive_window` of a stream on which no DATA may arrive: not answered yet, ended, or gone. No frame fits into it.
NO_DATA = -1


class Stream:
    """A CONNECT and the bytes that flow in it.

    Whoever uses the connection may read `id` and `send_window`, and `owner` is theirs alone; everything else belongs to the connection.

    Args:
        send_window: bytes that the peer lets us send on this stream; 0 once we may send no more, negative
            when the peer took back what it had granted.
        window: bytes that the peer may send before any are consumed (grows).
        now_s: when it was opened.
    """

    __slots__ = (
        "epoch_bytes",
        "epoch_s",
        "id",
        "owner",
        "receive_window",
        "receiving",
        "send_window",
        "sending",
        "status",
        "unreturned",
        "window",
        "woken_window",
    )

    def __init__(self, stream_id: int, owner: object, send_window: int, window: int, now_s: float) -> None:
        self.id = stream_id
        self.owner = owner
        self.send_window = send_window
        self.window = window
        self.receive_window = NO_DATA  # what of `window` the peer has not used yet
        self.unreturned = 0  # consumed, and not yet given back to the peer
        self.epoch_s = now_s  # when the count of epoch_bytes began
        self.epoch_bytes = 0  # given back to the peer since then
        self.sending = True  # we have not ended our half
        self.receiving = True  # the peer has not ended its half
        self.status = 0  # of the response, 0 before it
        self.woken_window = NO_DATA  # send_window when Writable was last reported

    def __repr__(self) -> str:
        return f"Stream({self.id})"

    @property
    def connected(self) -> bool:
        """Whether the CONNECT succeeded. Source: RFC 9113 section 8.5, RFC 9110 section 9.3.6 (any 2xx)."""
        return 200 <= self.status < 300
