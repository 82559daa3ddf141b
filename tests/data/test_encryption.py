"""Certificates are verified, and encryption is not given up on the way."""

import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from allen_server import AllenServer

from v1builder.fetch.archive import Archive
from v1builder.fetch.transfer import Transfer, WantedFile

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificate"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    options = (
        "-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    )
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run(["openssl", "req", *options.split(), *names], check=True, capture_output=True)
    return key, made


@pytest.fixture
def encrypted(certificate: tuple[Path, Path], server: AllenServer):
    """https server that gives "/one" and sends "/away" on to the plain server."""
    key, made = certificate
    server.files["/one"] = b"plain"

    class Encrypted(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            away = self.path == "/away"
            self.send_response(302 if away else 200)
            if away:
                self.send_header("Location", f"{server.url}/one")
            self.send_header("Content-Length", "0" if away else "6")
            self.end_headers()
            self.wfile.write(b"" if away else b"secret")

        def log_message(self, *_arguments: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that does not trust us hangs up

    running = Quiet(("127.0.0.1", 0), Encrypted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://localhost:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def attempt(tmp_path: Path, url: str) -> Archive:
    archive = Archive(tmp_path / "raw", Transfer(attempts=1, connect_timeout_s=2, read_timeout_s=2))
    with archive.locked():
        archive.fetch([WantedFile("one", url)], "")
    return archive


def test_unknown_certificate_is_refused(encrypted: str, tmp_path: Path) -> None:
    archive = attempt(tmp_path, f"{encrypted}/one")
    assert "certificate" in archive.failures[0].reason
    assert not archive.path("one").exists()


def test_known_certificate_is_taken(
    encrypted: str,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[1]))
    assert attempt(tmp_path, f"{encrypted}/one").path("one").read_bytes() == b"secret"


def test_sent_on_to_a_plain_address_is_refused(
    encrypted: str,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[1]))
    archive = attempt(tmp_path, f"{encrypted}/away")
    assert "without encryption" in archive.failures[0].reason
    assert not archive.path("one").exists()
