# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decode the file of a session or an account."""

from __future__ import annotations

from .._model.record import StoredState
from .base import Store
from .two_slot_file import TwoSlotFile


def load_slots(store: Store, key: str, slots: TwoSlotFile) -> StoredState:
    """Return the state in a file, after making it durable. Raises :class:`OSError` or :class:`StoreError`."""
    if slots.value is None:
        # No note can be read either, and an empty one covers every token.
        stored = store.load_state(key, None, b"")
        return stored._replace(damage=f"{store.location(key)}: its content is corrupt")
    record, note = slots.value
    stored = store.load_state(key, record or None, note or None)
    slots.sync()
    if (stored.record or stored.entry) is not None and store.encrypted:
        # A task that was killed before it had written both slots may have left an old copy in the other one.
        older = slots.older
        if older is None or (older.record and store.needs_reencryption(older.record)):
            stored = stored._replace(needs_reencryption=True)
    return stored
