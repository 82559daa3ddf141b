"""A server on this machine that answers as the Allen services do, and fails when it is told to.

Requests are those that allensdk 2.16.2 makes (the service decodes percent-encoding):
    /api/v2/data/query.json?q=model::ApiCellTypesSpecimenDetail,rma::options[num_rows$eq'all']
    ...q=model::EphysFeature,rma::criteria,specimen(ephys_result[failed$eqfalse]),rma::options[...]
    ...q=model::Specimen,rma::criteria,[id$in<ids>],rma::include,neuronal_models(...),rma::options[...]
    ...q=model::NeuronalModel,rma::criteria,[id$in<ids>],rma::include,well_known_files(...),...
    /api/v2/well_known_file_download/<n>
and plain files. Anything else is answered 404, so a request of another shape fails a test.
"""

import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Fault = Callable[["Handler", bytes], None]
_ALL = "rma::options[num_rows$eq'all']"
_CELLS = f"model::ApiCellTypesSpecimenDetail,{_ALL}"
_FEATURES = f"model::EphysFeature,rma::criteria,specimen(ephys_result[failed$eqfalse]),{_ALL}"
_TEMPLATES = "395310498,395310469,395310475,395310479,471355161"
_MODELS = re.compile(
    r"model::Specimen,rma::criteria,\[id\$in([0-9,]+)\],rma::include,neuronal_models\("
    r"well_known_files,neuronal_model_template\[id\$in"
    + _TEMPLATES
    + r"\],neuronal_model_runs\(well_known_files\)\),"
    + re.escape(_ALL + "[count$eqfalse]")
)
_FILES = re.compile(
    r"model::NeuronalModel,rma::criteria,\[id\$in([0-9,]+)\],rma::include,"
    r"well_known_files\(well_known_file_type\)," + re.escape(_ALL + "[count$eqfalse]")
)
_START = re.compile(r"\[start_row\$eq(\d+)\]$")


class _QuietServer(ThreadingHTTPServer):
    """Clients that hang up are what is tested."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class AllenServer:
    """Serves `cells`, `features`, `specimens`, `models`, `configs` and `files`; counts requests.

    Attributes:
        faults: part of a decoded request -> behaviours, used up one per request.
        page_rows: most rows in one answer; None for all.
        requests: decoded requests in order of arrival.
    """

    def __init__(self) -> None:
        self.cells: list[dict[str, Any]] = []
        self.features: list[dict[str, Any]] = []
        self.specimens: dict[int, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {}
        self.configs: dict[int, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.page_rows: int | None = None
        self.requests: list[str] = []
        self.busy = self.most_at_once = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "AllenServer":
        handler = type("BoundHandler", (Handler,), {"world": self})
        self._http = _QuietServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def count(self, part: str) -> int:
        return sum(part in request for request in self.requests)

    def times(self) -> Counter:
        return Counter(self.requests)

    def fault(self, request: str) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            for part, behaviours in self.faults.items():
                if part in request and behaviours:
                    return behaviours.pop(0)
        return None

    def answer(self, request: str) -> bytes | None:
        """Body of a good answer; None for 404."""
        if request.startswith("/api/v2/well_known_file_download/"):
            return self.configs.get(int(request.rpartition("/")[2]))
        query = request.removeprefix("/api/v2/data/query.json?q=")
        if query == request:
            return self.files.get(request)
        start = _START.search(query)
        first = int(start.group(1)) if start else 0
        rows = self._rows(_START.sub("", query))
        return None if rows is None else self.envelope(rows, first)

    def envelope(self, rows: list[Any], first: int = 0) -> bytes:
        page = rows[first : None if self.page_rows is None else first + self.page_rows]
        head = {"success": True, "id": 0, "start_row": first}
        head |= {"num_rows": len(page), "total_rows": len(rows), "msg": page}
        return json.dumps(head).encode()

    def _rows(self, query: str) -> list[Any] | None:
        if query == _CELLS:
            return self.cells
        if query == _FEATURES:
            return self.features
        for pattern, objects in ((_MODELS, self.specimens), (_FILES, self.models)):
            match = pattern.fullmatch(query)
            if match:
                asked = [int(one) for one in match.group(1).split(",")]
                return [objects[one] for one in asked if one in objects]
        return None


class Handler(BaseHTTPRequestHandler):
    """One request; HTTP/1.1, byte ranges, ETags."""

    protocol_version = "HTTP/1.1"
    world: AllenServer

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        request = unquote(parts.path + (f"?{parts.query}" if parts.query else ""))
        with self.world._lock:
            self.world.busy += 1
            self.world.most_at_once = max(self.world.most_at_once, self.world.busy)
        try:
            fault = self.world.fault(request)
            body = self.world.answer(request)
            if body is None:
                self.send(404, b"no such thing")
            elif fault is not None:
                fault(self, body)
            else:
                self.send_file(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.world._lock:
                self.world.busy -= 1

    def send_file(self, body: bytes, stop_after: int | None = None, tag: str | None = None) -> None:
        """The file or the range asked for; `stop_after` bytes the connection breaks."""
        tag = tag or f'"{len(body)}-{sum(body) % 9973}"'
        begin, status = 0, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range") == tag:
            begin, status = int(wanted.group(1)), 206
            if begin >= len(body):
                self.send(416, b"")
                return
        rest = body[begin:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if stop_after is None:
            self.wfile.write(rest)
        else:
            self.wfile.write(rest[:stop_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def status(code: int, **headers: str) -> Fault:
    """Answer with an HTTP error."""
    return lambda handler, _body: handler.send(code, b"trouble", **headers)


def truncated(after: int) -> Fault:
    """Break the connection after some bytes of the body."""
    return lambda handler, body: handler.send_file(body, stop_after=after)


def silence(seconds: float) -> Fault:
    """Say nothing for a while."""

    def wait(handler: Handler, _body: bytes) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return wait


def instead(body: bytes) -> Fault:
    """Another body, with status 200."""
    return lambda handler, _body: handler.send_file(body)
