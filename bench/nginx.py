"""The server of the HTTP rows: nginx, one worker, 1 KB from memory, connections kept alive, no access log."""

from pathlib import Path

BODY_BYTES = 1024


def configuration(directory: Path, port: int) -> str:
    """An nginx.conf that keeps all it writes in `directory`.

    Connections are never closed by the server's own limits, so that what is measured as kept alive is.
    """
    paths = "\n  ".join(f"{name}_temp_path {directory}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
  {paths}
  access_log off;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  server {{
    listen {port} backlog=4096;
    default_type text/plain;
    location / {{ return 200 "{"x" * BODY_BYTES}"; }}
  }}
}}
"""
