"""The directory of one edge: its lock, its identity, and in which life of the machine it was used last.

The identity exists only here. An empty directory is a new edge, and what an old one had leased stays aside
until an owner decides.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import orjson

from om_proxy.server.identity import Edge, new_edge_id

_LOCK = "lock"
_IDENTITY = "edge.json"
_INSTANCE_BYTES = 16


class HomeTaken(Exception):
    """Another process owns the directory."""


class IdentityUnreadable(Exception):
    """The file that says which edge this is cannot be read. An owner moves the directory away."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the directory remembers of its edge."""

    edge_id: str
    edge_epoch: int
    #: Of the machine, at the last start.
    boot_id: str
    #: Whether every write was forced to the disk in the last life.
    synced: bool
    #: Whether the server has taken what the last start had to say of the past.
    resynced: bool
    #: Whether that start knew its whole past.
    clean: bool
    #: The life of the store that the server named last; empty before the first.
    store: str = ""
    #: Whether a power cut may have taken what said that calls were sent, and they have not ended since.
    markers_lost: bool = False


class Home:
    """A locked directory, from the start of an edge to its end."""

    def __init__(self, path: Path, identity: Identity, *, lock: int, folder: int) -> None:
        """`lock` and `folder` are descriptors: of the file that is locked, and of the directory."""
        self.path = path
        self._lock = lock
        self._folder = folder
        self._identity = identity
        #: Who this process is to the server; the same object in every epoch.
        self.edge = Edge(identity.edge_id, identity.edge_epoch, secrets.token_hex(_INSTANCE_BYTES))

    @classmethod
    def enter(cls, path: Path, *, boot_id: str, synced: bool) -> Self:
        """Take the directory and begin the next epoch. HomeTaken, IdentityUnreadable, OSError.

        The past is known whole if the machine has not been down since, or nothing was in its memory alone;
        and if the start before knew it too, or has at least told the server that it did not.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _locked(path / _LOCK)
        try:
            before = _read(path / _IDENTITY)
            same_boot = before is None or (boot_id != "" and boot_id == before.boot_id)
            now = _next(before, boot_id=boot_id, synced=synced, same_boot=same_boot)
            _write(path / _IDENTITY, now)
            folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, now, lock=lock, folder=folder)

    @property
    def boot_id(self) -> str:
        """In which life of the machine this is; empty where nobody can tell."""
        return self._identity.boot_id

    @property
    def synced(self) -> bool:
        """Whether every write is forced to the disk."""
        return self._identity.synced

    @property
    def clean(self) -> bool:
        """Whether the journal of the past is known to be complete."""
        return self._identity.clean

    @property
    def store(self) -> str:
        """The life of the store that the server named last; empty before the first."""
        return self._identity.store

    @property
    def markers_lost(self) -> bool:
        """Whether calls of the past may have been sent although nothing says so."""
        return self._identity.markers_lost

    def recovered(self) -> None:
        """Remember that every call of the past has ended."""
        if self._identity.markers_lost:
            self._keep(replace(self._identity, markers_lost=False))

    def found_damage(self) -> None:
        """Remember that the past is not known whole, until the server has heard it."""
        self._keep(replace(self._identity, clean=False))

    def next_epoch(self, step: int = 1) -> None:
        """Begin another epoch in this process."""
        epoch = self._identity.edge_epoch + step
        self._keep(replace(self._identity, edge_epoch=epoch, resynced=False))
        self.edge.edge_epoch = epoch

    def resynced(self, store: str) -> None:
        """Remember that the server has taken what there was to say of the past, and in which life it is."""
        self._keep(replace(self._identity, resynced=True, store=store))

    def sync_names(self) -> None:
        """Force the names of the files to the disk, also where this process may open nothing more."""
        os.fsync(self._folder)

    def leave(self, *, synced: bool = False) -> None:
        """Give the directory up; `synced` tells that all of it is on the disk now, whatever comes."""
        if synced:
            self._keep(replace(self._identity, synced=True))
        os.close(self._folder)
        os.close(self._lock)

    def _keep(self, identity: Identity) -> None:
        _write(self.path / _IDENTITY, identity)
        self._identity = identity


def _next(before: Identity | None, *, boot_id: str, synced: bool, same_boot: bool) -> Identity:
    if before is None:
        return Identity(new_edge_id(), 1, boot_id, synced, resynced=False, clean=True)
    clean = (before.synced or same_boot) and (before.clean or before.resynced)
    return replace(
        before,
        edge_epoch=before.edge_epoch + 1,
        boot_id=boot_id,
        synced=synced,
        resynced=False,
        clean=clean,
        # Also of the start before the last, where that one came to its end before it ended those calls.
        markers_lost=before.markers_lost or not same_boot,
    )


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise HomeTaken(f"{path.parent} is the journal of a process that runs") from None
    return lock


def _read(path: Path) -> Identity | None:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Identity(**orjson.loads(text))
    except (TypeError, ValueError):
        raise IdentityUnreadable(
            f"{path} cannot be read; move the directory away to start a new edge"
        ) from None


def _write(path: Path, identity: Identity) -> None:
    """Replace the file as a whole, and only once it is on the disk: an epoch is never used twice."""
    new = path.with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, orjson.dumps(asdict(identity), option=orjson.OPT_INDENT_2))
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(path)
    sync_file(path.parent)


def sync_file(path: Path) -> None:
    """Force a file, or the names of a directory, to the disk."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
