"""The raw files of a store: downloaded once, remembered with their hashes, never changed silently.

`downloads.jsonl` holds one line per file as it arrived: name, url, sha256, size, day. A file that is
there with its recorded hash is not fetched again, so a complete archive needs no network. A file that
is recorded but gone must come back with the recorded hash.
"""

import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from v1builder.fetch.transfer import (
    RefusedError,
    StoppedError,
    Transfer,
    WantedFile,
    download,
    new_session,
    today,
)
from v1builder.schema.errors import FetchError, Problem, StorageError
from v1builder.schema.files import sha256_of, write_text
from v1builder.schema.manifests import Pin

ProgressCallback = Callable[[str, int, int], None]
_LOG = "downloads.jsonl"
_SHOWN = 3
_MEND = "mend what the other problems say, then run the same command again"
_MB = 1_000_000


@dataclass(frozen=True)
class Record:
    """One line of the log."""

    name: str
    url: str
    sha256: str
    size: int
    day: str
    validator: str = ""


@dataclass(frozen=True)
class Failure:
    """A file that could not be had."""

    name: str
    url: str
    reason: str
    fix: str
    tried: bool = True


class Archive:
    """A folder of downloaded files.

    Attributes:
        folder: where they are.
        failures: what could not be had so far.
        asked: names of all files that were to be here.
    """

    def __init__(
        self,
        folder: Path,
        transfer: Transfer | None = None,
        pins: Mapping[str, Pin] | None = None,
        progress: ProgressCallback | None = None,
    ):
        self.folder = folder
        self.failures: list[Failure] = []
        self.asked: set[str] = set()
        self._transfer = Transfer() if transfer is None else transfer
        self._pins = dict(pins or {})
        self._progress = progress
        self._verified: set[str] = set()
        self._records = {record.name: record for record in _read_log(folder / _LOG)}

    def records(self, prefix: str = "") -> list[Record]:
        """What is here, by name."""
        return [record for name, record in sorted(self._records.items()) if name.startswith(prefix)]

    def path(self, name: str) -> Path:
        """Where a file is; StorageError for a name that leads outside."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name:
            raise StorageError.of("a file would lie outside the store", self.folder, name)
        return self.folder.joinpath(*parts)

    @contextmanager
    def locked(self) -> Iterator["Archive"]:
        """Keep every other fetch out of this archive.

        Raises:
            StorageError: another fetch is at work.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise StorageError.of(
                "another fetch is writing into this store",
                self.folder.parent,
                fix="wait until it has ended, or choose another --out",
            ) from None
        except OSError as error:
            raise _no_storage(error, self.folder) from error
        try:
            # Another fetch may have added to the log since it was read. Only now may a line that was
            # cut off be taken out: before, another fetch may have been at work on it.
            log = self.folder / _LOG
            self._records = {record.name: record for record in _read_log(log, mend=True)}
            yield self
        finally:
            lock.release()

    def fetch(self, files: Iterable[WantedFile], stage: str) -> list[str]:
        """Make sure that files are here.

        Args:
            files: with distinct names.
            stage: of the progress; none where it has no name.

        Returns:
            Names of the files that are here; the others are in `failures`.

        Raises:
            FetchError: a file here is not the one that was recorded.
            StorageError: the file system refused.
        """
        wanted = [self._pinned(file) for file in files]
        self.asked |= {file.name for file in wanted}
        missing = [file for file in wanted if not self._is_here(file)]
        here = len(wanted) - len(missing)
        report = self._reporter(stage, missing, here, len(wanted))
        report(0, 0)
        if missing:
            self._fetch_missing(missing, report)
        failed = {failure.name for failure in self.failures}
        return [file.name for file in wanted if file.name not in failed]

    def verify(self, prefix: str, fix: str) -> None:
        """Check that everything recorded under a prefix is here as it was recorded.

        Raises:
            FetchError: naming a file that is missing or changed; `fix` brings a missing one back.
        """
        for record in self.records(prefix):
            if not self._is_here(WantedFile(record.name, record.url)):
                raise FetchError.of("a downloaded file is missing", self.path(record.name), "", fix)

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell whoever wants to know how far a stage is; a stage without name is part of another."""
        if self._progress is not None and stage:
            self._progress(stage, done, total)

    def raise_failures(self, allowed: str | None = None) -> None:
        """Raise a FetchError with every failure, those with the same reason together.

        Args:
            allowed: files whose names begin so may be missing, unless some were not even tried.
        """
        failures = self.failures
        if allowed is not None and all(failure.tried for failure in failures):
            failures = [one for one in failures if not one.name.startswith(allowed)]
        if failures:
            raise FetchError(_problems(failures, self.folder))

    def _pinned(self, file: WantedFile) -> WantedFile:
        """The file with the hash it must have: a user's pin, else the manifest's, else the recorded."""
        pin = self._pins.get(file.name)
        if pin is not None:
            return replace(file, sha256=pin.sha256, size=pin.size)
        record = self._records.get(file.name)
        if file.sha256 is None and record is not None and _same_query(record.url, file.url):
            return replace(file, sha256=record.sha256, size=record.size)
        return file

    def _is_here(self, file: WantedFile) -> bool:
        record = self._records.get(file.name)
        path = self.path(file.name)
        if record is None or not path.is_file() or not _same_query(record.url, file.url):
            return False
        if file.name not in self._verified:
            got = sha256_of(path)
            if got != record.sha256:
                raise FetchError.of(
                    "a downloaded file was changed",
                    path,
                    f"sha256 {got}, recorded {record.sha256}",
                    "delete the file and run the same command again",
                )
            self._verified.add(file.name)
        if file.sha256 is not None and file.sha256 != record.sha256:
            raise FetchError.of(
                "a file in the store is not the one that is pinned",
                path,
                f"sha256 {record.sha256}, pinned {file.sha256}",
                "to keep the store, give the pins it was made with, which it holds itself (--pins "
                f"{self.folder.parent / 'pins.toml'}); else choose a new --out",
            )
        return True

    def _reporter(
        self, stage: str, missing: Sequence[WantedFile], here: int, total: int
    ) -> Callable[[int, int], None]:
        """A callback of (files that arrived, bytes of the file being fetched)."""
        size = missing[0].size if len(missing) == 1 else None
        show_bytes = size is not None and size > 10 * _MB

        def report(done: int, n_bytes: int) -> None:
            if show_bytes and size is not None:
                self.report(f"{stage} (MB)", (size if done else n_bytes) // _MB, size // _MB)
            else:
                self.report(stage, here + done, total)

        return report

    def _fetch_missing(
        self, missing: Sequence[WantedFile], report: Callable[[int, int], None]
    ) -> None:
        """Download in a few threads. The main thread keeps the books, and stays open to Ctrl-C."""
        stop = threading.Event()
        sizes: dict[str, int] = {}
        local = threading.local()
        failed: list[str] = []  # since the last success

        def work(file: WantedFile) -> Record:
            if stop.is_set():
                raise StoppedError
            if not hasattr(local, "session"):
                local.session = new_session()
            part = self.path(f".partial/{file.name}")
            try:
                arrived = download(
                    local.session,
                    file,
                    part,
                    self._transfer,
                    stop,
                    lambda n_bytes: sizes.__setitem__(file.name, n_bytes),
                )
            except RefusedError as error:
                failed.extend([file.name] * error.no_service)
                if len(failed) >= self._transfer.give_up_after:
                    stop.set()
                raise
            failed.clear()
            final = self.path(file.name)
            final.parent.mkdir(parents=True, exist_ok=True)
            arrived.path.replace(final)
            part.with_name(part.name + ".validator").unlink(missing_ok=True)
            return Record(
                file.name, file.url, arrived.sha256, arrived.size, today(), arrived.validator
            )

        pool = ThreadPoolExecutor(self._transfer.parallel, thread_name_prefix="fetch")
        futures: dict[Future[Record], WantedFile] = {}
        try:
            futures = {pool.submit(work, file): file for file in missing}
            self._collect(futures, sizes, report)
        finally:  # on Ctrl-C the threads end at the next piece; what has arrived is kept
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._keep_finished(futures)

    def _collect(
        self,
        futures: Mapping[Future[Record], WantedFile],
        sizes: Mapping[str, int],
        report: Callable[[int, int], None],
    ) -> None:
        pending = set(futures)
        arrived = 0
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                file = futures[future]
                try:
                    self._remember(future.result())
                    arrived += 1
                except StoppedError:
                    reason = "not tried, because too many others failed before"
                    self.failures.append(Failure(file.name, file.url, reason, _MEND, tried=False))
                except RefusedError as error:
                    fix = error.fix + file.without
                    self.failures.append(Failure(file.name, file.url, error.reason, fix))
                except OSError as error:
                    self._forget_part(file, error)
                    raise _no_storage(error, self.path(file.name)) from error
            report(arrived, max(sizes.values(), default=0))

    def _keep_finished(self, futures: Mapping[Future[Record], WantedFile]) -> None:
        """Record what finished while the main thread was on its way out."""
        for future in futures:
            if future.done() and not future.cancelled() and future.exception() is None:
                record = future.result()
                if self._records.get(record.name) != record:
                    with suppress(OSError):  # a full disk is what the main thread is about to say
                        self._remember(record)

    def _forget_part(self, file: WantedFile, error: OSError) -> None:
        """A full disk is not kept full by half a file."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with suppress(OSError):
                self.path(f".partial/{file.name}").unlink(missing_ok=True)

    def _remember(self, record: Record) -> None:
        line = json.dumps(asdict(record)) + "\n"
        with (self.folder / _LOG).open("a", encoding="utf-8") as log:
            log.write(line)
            log.flush()
            os.fsync(log.fileno())
        self._records[record.name] = record
        self._verified.add(record.name)


def _same_query(one: str, other: str) -> bool:
    """Whether two addresses ask for the same, on whatever host and in whatever folder of it."""
    (_, _, a, asked_a, _), (_, _, b, asked_b, _) = urlsplit(one), urlsplit(other)
    return (a.rpartition("/")[2], asked_a) == (b.rpartition("/")[2], asked_b)


def _read_log(path: Path, mend: bool = False) -> list[Record]:
    """The log; a last line that was cut off does not count, any other fault is an error.

    `mend` takes such a line out of the file.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError.of("cannot read the log of downloads", path, error) from None
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        if mend:
            write_text(path, "".join(lines))
    try:
        return [Record(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise StorageError.of(
            "the log of downloads is damaged", path, error, "fetch into a new folder"
        ) from None


def _problems(failures: Sequence[Failure], folder: Path) -> list[Problem]:
    """One problem per reason."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.reason, failure.fix), []).append(failure)
    found = []
    for (reason, fix), group in groups.items():
        named = "; ".join(f"{one.name} from {one.url[:200]}" for one in group[:_SHOWN])
        more = f"; and {len(group) - _SHOWN} more" if len(group) > _SHOWN else ""
        number = "a file" if len(group) == 1 else f"{len(group)} files"
        what = f"{number} could not be downloaded: {reason}"
        found.append(Problem(what, str(folder), named + more, fix))
    return found


def _no_storage(error: OSError, path: Path) -> StorageError:
    fix = "free some disk space" if error.errno == errno.ENOSPC else "check the path"
    return StorageError.of(
        "cannot write a downloaded file",
        path,
        error.strerror or error,
        f"{fix}, then run the same command again: it fetches only what is missing",
    )
