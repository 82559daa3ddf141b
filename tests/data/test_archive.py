"""Downloads arrive whole, once and unchanged, or not at all, whatever the server does."""

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tomllib
from pathlib import Path

import pytest
from allen_server import AllenServer, instead, silence, status, truncated

from v1builder.fetch.archive import Archive
from v1builder.fetch.transfer import Transfer, WantedFile
from v1builder.schema.errors import FetchError, StorageError
from v1builder.schema.files import hash_folder
from v1builder.schema.manifests import Pin

BODY = bytes(range(256)) * 2000  # 512 000 bytes: several pieces


@pytest.fixture
def archive(tmp_path: Path, quick: Transfer) -> Archive:
    return Archive(tmp_path / "raw", quick)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def get(archive: Archive, *files: WantedFile) -> list[str]:
    with archive.locked():
        return archive.fetch(files, "test")


def serve(server: AllenServer, **bodies: bytes) -> list[WantedFile]:
    server.files |= {f"/{name}": body for name, body in bodies.items()}
    return [WantedFile(name, f"{server.url}/{name}") for name in bodies]


def test_file_arrives_with_its_record(server: AllenServer, archive: Archive) -> None:
    (wanted,) = serve(server, one=BODY)
    assert get(archive, wanted) == ["one"]
    assert archive.path("one").read_bytes() == BODY
    (record,) = archive.records()
    assert (record.sha256, record.size) == (sha256(BODY), len(BODY))
    assert len(record.day) == 10
    assert not list((archive.folder / ".partial").rglob("*.*"))


def test_second_fetch_asks_for_nothing(server: AllenServer, tmp_path: Path) -> None:
    files = serve(server, one=BODY, two=b"2")
    get(Archive(tmp_path / "raw"), *files)
    server.requests.clear()
    assert get(Archive(tmp_path / "raw"), *files) == ["one", "two"]
    assert server.requests == []


def test_what_came_from_a_mirror_need_not_come_again(server: AllenServer, tmp_path: Path) -> None:
    """Hosts and folders differ; another query under the same name is another file."""
    (wanted,) = serve(server, one=BODY)
    get(Archive(tmp_path / "raw"), wanted)
    published = WantedFile("one", "https://published.invalid/some/folder/one")
    assert get(Archive(tmp_path / "raw"), published) == ["one"]
    server.files["/one?q=2"] = b"2"
    get(Archive(tmp_path / "raw"), WantedFile("one", f"{server.url}/one?q=2"))
    assert (tmp_path / "raw" / "one").read_bytes() == b"2"


def test_second_fetch_asks_only_for_what_is_missing(server: AllenServer, tmp_path: Path) -> None:
    files = serve(server, one=BODY, two=b"2")
    get(Archive(tmp_path / "raw"), *files)
    (tmp_path / "raw" / "two").unlink()
    server.requests.clear()
    get(Archive(tmp_path / "raw"), *files)
    assert server.requests == ["/two"]


@pytest.mark.parametrize("code", [500, 502, 503, 429])
def test_passing_trouble_is_tried_again(server: AllenServer, archive: Archive, code: int) -> None:
    (wanted,) = serve(server, one=BODY)
    server.faults["/one"] = [status(code), status(code)]
    assert get(archive, wanted) == ["one"]
    assert server.count("/one") == 3


def test_server_says_how_long_to_wait(server: AllenServer, archive: Archive) -> None:
    (wanted,) = serve(server, one=b"1")
    server.faults["/one"] = [status(503, Retry_After="0.3")]
    begun = time.monotonic()
    get(archive, wanted)
    assert time.monotonic() - begun > 0.3


def test_lasting_trouble_is_one_error_after_the_limit(
    server: AllenServer, archive: Archive
) -> None:
    bad, good = serve(server, bad=b"1", good=b"2")
    server.faults["/bad"] = [status(500)] * 99
    assert get(archive, bad, good) == ["good"]
    assert server.count("/bad") == 3
    with pytest.raises(FetchError, match="HTTP 500") as caught:
        archive.raise_failures()
    assert "3 attempts" in str(caught.value)
    assert "fetches only what is missing" in str(caught.value)
    assert not archive.path("bad").exists()


def test_absent_file_is_not_asked_for_again(server: AllenServer, archive: Archive) -> None:
    assert get(archive, WantedFile("one", f"{server.url}/one")) == []
    assert server.requests == ["/one"]
    assert "HTTP 404" in archive.failures[0].reason


def test_failures_with_one_reason_are_one_problem(server: AllenServer, archive: Archive) -> None:
    get(archive, *[WantedFile(f"f{i}", f"{server.url}/f{i}") for i in range(6)])
    with pytest.raises(FetchError) as caught:
        archive.raise_failures()
    (problem,) = caught.value.problems
    assert problem.what.startswith("6 files")
    assert "and 3 more" in problem.got


def test_dead_service_is_given_up(server: AllenServer, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "raw", Transfer(attempts=1, give_up_after=4, parallel=2))
    files = serve(server, **{f"f{i}": b"x" for i in range(60)})
    server.faults["/f"] = [status(500)] * 60
    get(archive, *files)
    assert 4 <= len(server.requests) < 20
    assert len(archive.failures) == 60
    assert sum("not tried" in failure.reason for failure in archive.failures) > 40


def test_a_missing_file_says_nothing_about_the_others(server: AllenServer, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "raw", Transfer(give_up_after=4))
    (good,) = serve(server, good=b"1")
    assert get(archive, *[WantedFile(f"f{i}", f"{server.url}/f{i}") for i in range(9)], good) == [
        "good"
    ]


def test_silence_is_a_time_out(server: AllenServer, archive: Archive) -> None:
    (wanted,) = serve(server, one=BODY)
    server.faults["/one"] = [silence(3.0)]
    assert get(archive, wanted) == ["one"]
    assert server.count("/one") == 2


def test_no_server_is_said(tmp_path: Path, quick: Transfer) -> None:
    with AllenServer() as stopped:
        url = stopped.url
    archive = Archive(tmp_path / "raw", quick)
    get(archive, WantedFile("one", f"{url}/one"))
    assert "connection refused" in archive.failures[0].reason


def test_broken_transfer_goes_on_where_it_broke(server: AllenServer, archive: Archive) -> None:
    (wanted,) = serve(server, one=BODY)
    server.faults["/one"] = [truncated(200_000)]
    sent: list[int] = []
    handle = server.answer
    server.answer = lambda request: sent.append(1) or handle(request)  # type: ignore[method-assign]
    get(archive, wanted)
    assert archive.path("one").read_bytes() == BODY
    assert len(sent) == 2


def test_compressed_answers_are_stored_as_what_they_hold(
    server: AllenServer, archive: Archive
) -> None:
    """From a server that compresses unasked: its lengths and ranges are not those of the file."""
    (wanted,) = serve(server, one=BODY)
    packed = gzip.compress(BODY)

    def compressed(handler, _body, n=None):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(packed)))
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("ETag", '"packed"')
        handler.end_headers()
        handler.wfile.write(packed[:n])
        handler.close_connection = n is not None

    server.faults["/one"] = [lambda handler, body: compressed(handler, body, 900), compressed]
    assert get(archive, wanted) == ["one"]
    assert archive.path("one").read_bytes() == BODY
    assert server.count("/one") == 2


def test_changed_between_two_parts_begins_anew(server: AllenServer, archive: Archive) -> None:
    """The validator differs, so the server sends the whole new file, not the rest of it."""
    (wanted,) = serve(server, one=BODY)

    def break_and_change(handler, body):
        server.files["/one"] = BODY[::-1] + b"new"
        truncated(200_000)(handler, body)

    server.faults["/one"] = [break_and_change]
    get(archive, wanted)
    assert archive.path("one").read_bytes() == BODY[::-1] + b"new"


def test_parts_that_do_not_fit_are_thrown_away(server: AllenServer, archive: Archive) -> None:
    """A server that resumes although the file changed: the pinned hash tells, a whole one mends."""
    server.files["/one"] = BODY
    wanted = WantedFile("one", f"{server.url}/one", sha256(BODY), len(BODY))
    same_tag = "'never changes'"
    server.faults["/one"] = [
        lambda handler, body: handler.send_file(body[::-1], stop_after=200_000, tag=same_tag),
        lambda handler, body: handler.send_file(body, tag=same_tag),
    ]
    assert get(archive, wanted) == ["one"]
    assert archive.path("one").read_bytes() == BODY
    assert server.count("/one") == 3


def test_truncated_every_time_is_an_error(server: AllenServer, archive: Archive) -> None:
    (wanted,) = serve(server, one=BODY)
    server.faults["/one"] = [truncated(10)] * 99
    assert get(archive, wanted) == []
    assert "broke off" in archive.failures[0].reason
    assert not archive.path("one").exists()


def test_wrong_hash_shows_both(server: AllenServer, archive: Archive) -> None:
    server.files["/one"] = BODY
    get(archive, WantedFile("one", f"{server.url}/one", sha256=sha256(b"other")))
    reason = archive.failures[0].reason
    assert sha256(BODY) in reason
    assert sha256(b"other") in reason
    assert not archive.path("one").exists()
    assert not (archive.folder / ".partial" / "one").exists()


def test_wrong_size_is_refused(server: AllenServer, archive: Archive) -> None:
    server.files["/one"] = BODY
    get(archive, WantedFile("one", f"{server.url}/one", size=3))
    assert "(3 bytes)" in archive.failures[0].reason


def test_changed_upstream_is_never_used_silently(server: AllenServer, tmp_path: Path) -> None:
    (wanted,) = serve(server, one=BODY)
    get(Archive(tmp_path / "raw"), wanted)
    server.files["/one"] = b"changed"
    (tmp_path / "raw" / "one").unlink()
    again = Archive(tmp_path / "raw")
    assert get(again, wanted) == []
    assert sha256(BODY) in again.failures[0].reason
    assert sha256(b"changed") in again.failures[0].reason
    assert "the source has changed" in again.failures[0].fix
    line = again.failures[0].fix.split("   ")[1]
    assert tomllib.loads(line) == {"files": {"one": {"sha256": sha256(b"changed")}}}


def test_edited_file_in_the_store_is_an_error(server: AllenServer, tmp_path: Path) -> None:
    (wanted,) = serve(server, one=BODY)
    get(Archive(tmp_path / "raw"), wanted)
    (tmp_path / "raw" / "one").write_bytes(b"edited")
    with pytest.raises(FetchError, match="was changed") as caught:
        get(Archive(tmp_path / "raw"), wanted)
    assert sha256(b"edited") in str(caught.value)
    assert sha256(BODY) in str(caught.value)


def test_users_pin_holds_for_downloads_and_for_what_is_there(
    server: AllenServer, tmp_path: Path, quick: Transfer
) -> None:
    (wanted,) = serve(server, one=BODY)
    pins = {"one": Pin(sha256=sha256(b"other"), size=5)}
    archive = Archive(tmp_path / "new", quick, pins)
    get(archive, wanted)
    assert sha256(b"other") in archive.failures[0].reason
    get(Archive(tmp_path / "old"), wanted)
    with pytest.raises(FetchError, match="pinned") as caught:
        get(Archive(tmp_path / "old", quick, pins), wanted)
    assert f"--pins {tmp_path / 'pins.toml'}" in str(caught.value)


def test_content_that_is_wrong_is_tried_again(server: AllenServer, archive: Archive) -> None:
    server.files["/one"] = b"{}"
    server.faults["/one"] = [instead(b"<html>busy</html>")]

    def check(path: Path) -> None:
        json.loads(path.read_text())

    assert get(archive, WantedFile("one", f"{server.url}/one", check=check)) == ["one"]
    assert archive.path("one").read_bytes() == b"{}"


def test_polite_at_most_so_many_at_once(server: AllenServer, tmp_path: Path) -> None:
    def slow(handler, body):
        time.sleep(0.03)
        handler.send_file(body)

    files = serve(server, **{f"f{i}": b"x" for i in range(12)})
    server.faults["/f"] = [slow] * 12
    get(Archive(tmp_path / "raw", Transfer(parallel=2)), *files)
    assert server.most_at_once == 2


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\..\\b", ""])
def test_nothing_is_written_outside(server: AllenServer, archive: Archive, name: str) -> None:
    with pytest.raises(StorageError, match="outside the store"):
        get(archive, WantedFile(name, f"{server.url}/one"))


def test_two_fetches_at_once(server: AllenServer, tmp_path: Path) -> None:
    """The second says so at once; afterwards the first is whole."""
    (wanted,) = serve(server, one=BODY)

    def slow(handler, body):
        time.sleep(0.3)
        handler.send_file(body)

    server.faults["/one"] = [slow]
    first = threading.Thread(target=get, args=(Archive(tmp_path / "raw"), wanted))
    first.start()
    while not server.requests:
        time.sleep(0.005)
    with pytest.raises(StorageError, match="another fetch"):
        get(Archive(tmp_path / "raw"), wanted)
    first.join()
    assert (tmp_path / "raw" / "one").read_bytes() == BODY
    assert get(Archive(tmp_path / "raw"), wanted) == ["one"]


def test_full_disk_is_one_error_and_goes_on_later(
    server: AllenServer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = serve(server, one=b"1", two=BODY)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_size == len(BODY):
            while not archive.path("one").exists():  # else the error stops it on its way
                time.sleep(0.005)
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left") as caught:
            get(archive, *files)
    assert "free some disk space" in str(caught.value)
    assert not archive.path("two").exists()
    assert not (archive.folder / ".partial" / "two").exists()
    assert get(Archive(archive.folder), *files) == ["one", "two"]
    assert server.count("/one") == 1


def test_log_cut_off_in_the_last_line(server: AllenServer, tmp_path: Path) -> None:
    files = serve(server, one=BODY, two=b"2")
    get(Archive(tmp_path / "raw"), *files)
    log = tmp_path / "raw" / "downloads.jsonl"
    log.write_text(log.read_text()[:-20])
    server.requests.clear()
    assert get(Archive(tmp_path / "raw"), *files) == ["one", "two"]
    assert len(server.requests) == 1
    assert len(log.read_text().splitlines()) == 2


def test_a_line_being_written_by_another_fetch_is_left_alone(
    server: AllenServer, tmp_path: Path
) -> None:
    """Looking at an archive changes nothing: only who holds the lock may mend the log."""
    (wanted,) = serve(server, one=BODY)
    get(Archive(tmp_path / "raw"), wanted)
    log = tmp_path / "raw" / "downloads.jsonl"
    with log.open("a") as file:
        file.write('{"name": "two", "url"')
    text = log.read_text()
    assert [record.name for record in Archive(tmp_path / "raw").records()] == ["one"]
    assert log.read_text() == text


def test_damaged_log_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "downloads.jsonl").write_text("garbage\n")
    with pytest.raises(StorageError, match="log of downloads is damaged"):
        Archive(tmp_path / "raw")


def test_ctrl_c_keeps_what_arrived_and_the_rest_comes_later(
    server: AllenServer, tmp_path: Path
) -> None:
    """In a process of its own: half of a large file arrives, then Ctrl-C, then a second run."""
    small, large = serve(server, small=b"1", large=BODY)

    def half(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", f'"{len(body)}-{sum(body) % 9973}"')
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        for _ in range(200):
            time.sleep(0.05)
            handler.wfile.write(b"\0" * 65536)  # never the true rest

    server.faults["/large"] = [half]
    code = textwrap.dedent(f"""
        from pathlib import Path
        from v1builder.fetch.archive import Archive
        from v1builder.fetch.transfer import WantedFile
        archive = Archive(Path({str(tmp_path / "raw")!r}))
        with archive.locked():
            archive.fetch([WantedFile("small", {small.url!r}), WantedFile("large", {large.url!r})], "x")
    """)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    part = tmp_path / "raw" / ".partial" / "large"
    for _ in range(1000):
        if part.exists() and part.stat().st_size >= len(BODY) // 2:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in error
    assert not (tmp_path / "raw" / "large").exists()
    assert (tmp_path / "raw" / "small").read_bytes() == b"1"
    part.write_bytes(BODY[: len(BODY) // 2])  # what the stand-in server made up does not count
    server.requests.clear()
    files = [small, WantedFile("large", large.url, sha256(BODY))]
    assert get(Archive(tmp_path / "raw"), *files) == ["small", "large"]
    assert server.requests == ["/large"]
    assert (tmp_path / "raw" / "large").read_bytes() == BODY


def test_same_files_same_bytes(server: AllenServer, tmp_path: Path) -> None:
    files = serve(server, **{f"f{i}": str(i).encode() * 1000 for i in range(8)})
    for name in ("a", "b"):
        get(Archive(tmp_path / name), *files)
    hashes = [hash_folder(tmp_path / name) for name in ("a", "b")]
    for one in hashes:
        one.pop("downloads.jsonl")
    assert hashes[0] == hashes[1]


def test_progress_counts_files(server: AllenServer, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    files = serve(server, one=BODY, two=b"2")
    archive = Archive(tmp_path / "raw", progress=lambda *call: calls.append(call))
    get(archive, *files)
    assert calls[0] == ("test", 0, 2)
    assert calls[-1] == ("test", 2, 2)
    archive.fetch([WantedFile("absent", f"{server.url}/absent")], "test")
    assert calls[-1] == ("test", 0, 1)  # a failure is not progress
