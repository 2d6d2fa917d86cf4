"""Serves the enrolment protocol to the ztunnels of this node: usually one, for the time of an upgrade two."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from daemonset.pods import PodInfo
from daemonset.zds.conversation import Conversation
from daemonset.zds.session import AddRequest, DeleteRequest, Enrolled, Request
from mesh.errors import RemoteProtocolError

_log = structlog.get_logger(scope="zds")
# Two during an upgrade; more would be a mistake, or a flood.
MAX_CONNECTIONS = 4


class ZdsServer:
    """Keeps every connected ztunnel told of the registered pods.

    Args:
        path: of the socket; made with mode 0600, a stale one is replaced.
        acknowledged: called when a ztunnel has opened a pod's listeners; must not block.
    """

    def __init__(self, path: Path, acknowledged: Callable[[str], None]) -> None:
        self._path = path
        self._acknowledged = acknowledged
        self._pods: dict[str, Enrolled] = {}
        self._conversations: list[Conversation] = []
        self._changed = asyncio.Condition()
        self._epochs = 0
        self._connections = 0

    @property
    def connected(self) -> bool:
        """Whether a ztunnel is there and has been told everything once."""
        return any(one.session.snapshot_sent for one in self._conversations)

    async def register(self, info: PodInfo, netns: int) -> None:
        """Tells every ztunnel of a pod, now and when it comes; netns must stay open until `withdraw` returned."""
        self._epochs += 1
        self._pods[info.uid] = Enrolled(info, netns, self._epochs)
        await self._tell()

    def refusal(self, uid: str) -> str:
        """Why the pod is not served: the newest ztunnel's own words, or that there is none; "" when it is served."""
        if not self._conversations:
            return "no ztunnel is connected"
        session = self._conversations[-1].session
        pod = self._pods.get(uid)
        if pod is not None and session.told.get(uid) == pod.epoch:
            return ""
        return f"ztunnel refuses: {session.refused[uid][0]}" if uid in session.refused else "ztunnel has not acknowledged yet"

    async def wait_served(self, uid: str, timeout_s: float) -> bool:
        """Waits until the newest ztunnel has acknowledged the pod; False: it has not within the time."""
        return await self._wait(lambda: not self.refusal(uid), timeout_s)

    async def withdraw(self, uid: str, timeout_s: float) -> bool:
        """Takes a pod from every ztunnel; True: all have acknowledged within the time."""
        self._pods.pop(uid, None)
        await self._tell()
        return await self._wait(lambda: not any(uid in one.session.told for one in self._conversations), timeout_s)

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(condition)
        except TimeoutError:
            return False
        return True

    async def _tell(self) -> None:
        """The pods have changed."""
        for one in self._conversations:
            one.wake()
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def run(self) -> None:
        """Serves until cancelled.

        Raises:
            OSError: the socket cannot be made.
        """
        with _listen(self._path) as listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                    connection.setblocking(False)
                    group.create_task(self._serve(connection))

    async def _serve(self, socket_: socket.socket) -> None:
        with socket_:
            if self._connections >= MAX_CONNECTIONS:
                _log.warning("ztunnel_refused", reason=f"{MAX_CONNECTIONS} are connected")
                return
            self._connections += 1
            try:
                await self._converse(Conversation(socket_, self._pods, self._progressed))
            except (RemoteProtocolError, OSError, TimeoutError) as error:
                _log.warning("ztunnel_failed", reason=str(error) or type(error).__name__)
            finally:
                self._connections -= 1

    async def _converse(self, one: Conversation) -> None:
        await one.greet()
        self._conversations.append(one)
        _log.info("ztunnel_connected", pods=len(self._pods), connected=len(self._conversations))
        try:
            await one.run()
        finally:
            self._conversations.remove(one)
            _log.info("ztunnel_gone", connected=len(self._conversations))
            await self._notify()

    async def _progressed(self, request: Request, error: str) -> None:
        match request:
            case AddRequest(pod) if error:
                _log.error("pod_refused", pod=str(pod.info), uid=pod.info.uid, error=error)
            case AddRequest(pod):
                self._acknowledged(pod.info.uid)
            case DeleteRequest(uid) if error:
                _log.warning("pod_delete_refused", uid=uid, error=error)
        await self._notify()


def _listen(path: Path) -> socket.socket:
    """The listening socket, whose file only we may use."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # Nobody can connect before listen(): the mode is in time.
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(MAX_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener
