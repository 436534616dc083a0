# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store records as private files in a directory."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import typing as t

from .._model.record import StoredState
from .base import Store
from .failures import store_errors
from .files import check_folder, open_folder, open_private
from .session_file import load_slots
from .two_slot_file import TwoSlotFile

if t.TYPE_CHECKING:
    from .encryption import Encryption
    from .locked_session import FirstNote, LockedSession

_RECORD = r"(account-)?[0-9a-f]{64}\.record"


class DirectoryStore(Store):
    """Stores each session and account in files of a private directory that are named after its key.

    ``KEY.record`` is a two-slot file with the record and the note. ``KEY.lock`` is locked with flock(2) and never removed.
    """

    def __init__(self, path: str, encryption: Encryption | None = None) -> None:
        super().__init__(path, encryption)
        self._mutex = threading.Lock()
        self._folder: int | None = None

    def read(self, key: str) -> StoredState:
        folder = self._open_folder(create=False)
        if folder is None:
            return StoredState()
        with store_errors(self.name):
            try:
                file = open_private(f"{key}.record", folder, os.O_RDONLY)
            except FileNotFoundError:
                return StoredState()
            try:
                return load_slots(self, key, TwoSlotFile(file))
            finally:
                os.close(file)

    def location(self, key: str) -> str:
        return os.path.join(self.name, f"{key}.record")

    def exists(self) -> bool:
        return self._open_folder(create=False) is not None

    def keys(self, prefix: str = "") -> t.Iterator[str]:
        folder = self._open_folder(create=False)
        with store_errors(self.name):
            names = [] if folder is None else os.listdir(folder)
        for name in names:
            match = re.fullmatch(_RECORD, name)
            if match and (match[1] or "") == prefix:
                yield name.partition(".")[0]

    @contextlib.contextmanager
    def lock(self, key: str, deadline: float, first_note: FirstNote | None = None) -> t.Iterator[LockedSession]:
        with store_errors(self.name):
            from .locked_file import LockedFile  # here, because most tasks only read
            from .locks import lock_file

            folder = t.cast(int, self._open_folder(create=True))
            lock = lock_file(f"{key}.lock", folder, deadline)
        try:
            with contextlib.closing(LockedFile(self, folder, key)) as file:
                yield file
        finally:
            os.close(lock)

    def close(self) -> None:
        with self._mutex:
            if self._folder is not None:
                os.close(self._folder)
                self._folder = None

    def _open_folder(self, *, create: bool) -> int | None:
        """Return the open directory, or None if there is none. It stays open, and is checked again each time."""
        with self._mutex, store_errors(self.name):
            if self._folder is not None and not check_folder(self._folder, self.name):
                # The directory was removed. It is not closed, because another thread may be using it.
                self._folder = None
            if self._folder is None and create:
                from .locks import make_folder  # here, because most tasks find a directory

                self._folder = make_folder(self.name)
            elif self._folder is None:
                with contextlib.suppress(FileNotFoundError):
                    self._folder = open_folder(self.name)
            return self._folder
