"""A web server that says which pod it is: `python3 -m lab.sample.web PORT`."""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class DualStackServer(ThreadingHTTPServer):
    """Listens for IPv4 and IPv6 on one socket."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with its own name, the path that was asked for, and the address that asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        client = self.client_address[0].removeprefix("::ffff:")
        body = f"{os.environ.get('HOSTNAME', '')} answers {client} for {self.path}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "ambient-sample"


def main() -> None:
    DualStackServer(("::", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
