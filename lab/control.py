"""The lab's own socket: a JSON object asks, JSON objects answer, a line each.

A request is {"op": NAME, …}. Answers are any number of {"progress": TEXT}, then {"result": …} or {"error": TEXT}.
"""

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from lab.errors import LabError
from mesh.errors import MeshError

# As much as the manifests of one `apply` may be, with room for what JSON adds.
_MAX_LINE_BYTES = 64 * 2**20

Say = Callable[[str], None]
Handler = Callable[[Mapping[str, Any], Say], Awaitable[object]]


def request(path: Path, question: Mapping[str, object], on_progress: Say, log: Path) -> Any:
    """Asks the lab's daemon; it bounds the time that an answer takes.

    Args:
        log: the daemon's own.
    Raises:
        LabError: it refused, with its reason; or it died.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as answers:
                for line in answers:
                    answer = json.loads(line)
                    if "progress" in answer:
                        on_progress(answer["progress"])
                    elif "error" in answer:
                        raise LabError(answer["error"])
                    else:
                        return answer["result"]
        except OSError as error:
            raise LabError(f"the lab does not answer: {error.strerror}", log) from error
    raise LabError("the lab gave no answer", log)


async def serve(path: Path, handler: Handler) -> asyncio.Server:
    """Listens for requests of root alone. A handler's MeshError is told to whoever asked; it ends when they go away."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(answer: dict[str, object]) -> None:
            writer.write(json.dumps(answer).encode() + b"\n")

        try:
            question = json.loads(await reader.readline())
            send({"result": await handler(question, lambda text: send({"progress": text}))})
        except MeshError as error:
            send({"error": str(error)})
        except ValueError as error:
            send({"error": f"not a request: {error}"})
        finally:
            writer.close()

    # Whoever waits for the path must find it listening, and between bind and listen it does not.
    unfinished = path.with_suffix(".new")
    before = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(talk, unfinished, limit=_MAX_LINE_BYTES)
    finally:
        os.umask(before)
    unfinished.rename(path)
    return server
