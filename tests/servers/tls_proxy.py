"""TLS and a login in front of a server that has neither: a real proxy, with an authority of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from servers.home import MissingToolError

CONFIG = """
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
userlist people
  user ann insecure-password {password}
frontend tls
  bind fd@{listening} ssl crt {certificate}
  acl key req.hdr(Authorization) -m str "ApiKey {key}"
  http-request auth unless {{ http_auth(people) }} or key
  default_backend plain
backend plain
  server plain {target}
"""


@contextmanager
def tls_proxy(target: str, folder: Path, *, password: str, key: str) -> Iterator[str]:
    """Give the URL of a proxy for `localhost`; `folder/ca.pem` is its authority.

    Args:
        target: `host:port` of the server.
        folder: For its files.
        password: Of the user `ann`.
        key: An API key that it lets in as well.

    Raises:
        MissingToolError: There is no haproxy.
    """
    program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise MissingToolError("there is no haproxy to put TLS before a server (.ci/run installs it)")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = folder / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with socket.create_server(("127.0.0.1", 0)) as held:
        config = folder / "haproxy.cfg"
        values = {"listening": held.fileno(), "certificate": certificate, "target": target}
        config.write_text(CONFIG.format(password=password, key=key, **values))
        with (folder / "haproxy.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603  our own words
                [program, "-db", "-f", config], pass_fds=[held.fileno()], stdout=log, stderr=log
            )
        try:
            yield f"https://localhost:{held.getsockname()[1]}"
        finally:
            process.kill()
            process.wait()
