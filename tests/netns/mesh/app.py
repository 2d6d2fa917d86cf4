"""What runs in the pods of these tests: `python3 app.py PORT…` greets a client with the pod's name and the client's address, then echoes.

It speaks first; and when the client has said its last, it says what is left to say and ends too.
"""

import asyncio
import contextlib
import os
import sys

READ_BYTES = 256 * 1024
# A thousand connections come at once.
BACKLOG = 4096


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    address = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
    with contextlib.suppress(OSError):
        writer.write(f"{os.environ['HOSTNAME']} {address}\n".encode())
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main() -> None:
    async with contextlib.AsyncExitStack() as servers:
        for port in map(int, sys.argv[1:]):
            await servers.enter_async_context(await asyncio.start_server(talk, ("0.0.0.0", "::"), port, backlog=BACKLOG))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
