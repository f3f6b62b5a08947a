"""Where things are kept: everything that is made or fetched lies in the cache folder, nothing in the repository."""
import contextlib
import os
import time
from pathlib import Path

from problem import Problem

ROOT = Path(__file__).resolve().parents[2]


def cache():
    """The folder `dev` uses too, and of it the part that belongs to measurements."""
    base = os.environ.get("LLMHOST_CACHE")
    if not base:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmhost"
    return Path(base) / "bench"


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def owner_of(lock):
    try:
        return int((lock / "pid").read_text())
    except (OSError, ValueError):
        return None


def break_lock(lock):
    with contextlib.suppress(OSError):
        (lock / "pid").unlink()
    with contextlib.suppress(OSError):
        lock.rmdir()


@contextlib.contextmanager
def locked(path, patience=7200):
    """Holds PATH.lock, a folder, so that two processes do not make the same thing; the lock of a process that died is broken."""
    lock = Path(f"{path}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    while True:
        try:
            lock.mkdir()
            break
        except FileExistsError:
            owner = owner_of(lock)
            age = time.time() - lock.stat().st_mtime if lock.exists() else 0
            if (owner is not None and not is_alive(owner)) or (owner is None and age > 60):
                break_lock(lock)
            elif time.monotonic() - started > patience:
                raise Problem(f"{lock} is held by process {owner} for {patience} s: remove it if that one hangs") from None
            else:
                time.sleep(0.5)
    (lock / "pid").write_text(str(os.getpid()))
    try:
        yield
    finally:
        break_lock(lock)
