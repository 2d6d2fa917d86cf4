"""What runs in the pods of the scenarios: a web server, and a stream of requests that tells of each that fails.

    app.py serve PORT        answers every request with the pod's name, and closes
    app.py load URL RATE     so many requests a second, each on a connection of its own; a line for each failure, and a count each second

It is run by the Python of the mesh's image, as it is.
"""

import asyncio
import contextlib
import os
import socket
import sys
import time

TIMEOUT_S = 5.0
MAX_BYTES = 65_536


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        await reader.readuntil(b"\r\n\r\n")
        body = socket.gethostname().encode() + b"\n"
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    server = await asyncio.start_server(answer, None, port, backlog=1024)
    print("serving", flush=True)
    await server.serve_forever()


async def request(host: str, port: int) -> str:
    """Returns what went wrong; "" when nothing did."""
    began = time.monotonic()
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            data = await reader.read(MAX_BYTES)
            while more := await reader.read(MAX_BYTES):
                data += more
        return "" if data.startswith(b"HTTP/1.1 200") and data.endswith(b"\n") else f"cut off: {data[:60]!r}"
    except (OSError, TimeoutError) as error:
        return f"{type(error).__name__}: {error} after {time.monotonic() - began:.3f} s"
    finally:
        if writer is not None:
            writer.close()


async def load(target: str, rate: float) -> None:
    host, _, port = target.rpartition(":")
    # Asked once, so that it is the mesh and not the DNS that is looked at.
    host = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0]
    # kube-proxy hears of the servers a moment after the API server does: what counts begins with the first answer.
    while await request(host, int(port)):
        await asyncio.sleep(0.1)
    done = 0

    async def one() -> None:
        nonlocal done
        trouble = await request(host, int(port))
        done += 1
        if trouble:
            print(f"FAILED {time.time():.3f} {trouble}", flush=True)

    async with asyncio.TaskGroup() as group:
        for number in range(sys.maxsize):
            group.create_task(one())
            if number % rate == 0:
                print(f"DONE {time.time():.3f} {done}", flush=True)
            await asyncio.sleep(1 / rate)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            asyncio.run(serve(int(port)))
        case ["load", target, rate]:
            asyncio.run(load(target, float(rate)))
        case _:
            sys.exit(os.EX_USAGE)
