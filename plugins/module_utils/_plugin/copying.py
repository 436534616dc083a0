# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open the two stores of a copy."""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._keeper.copy import Target
from .._model.exceptions import OptionError
from .._store.base import Store
from .options import GetOption
from .store_options import open_store, read_place
from .wiring import read_deadline


@contextlib.contextmanager
def open_copy(
    get_option: GetOption, source: t.Mapping[str, t.Any], warn: t.Callable[[str], None]
) -> t.Iterator[tuple[Store, Target]]:
    """Yield the store that ``source`` names, and that of the options as the target of a copy. Raises :class:`WuyingError`.

    At the end of the block, ``warn`` is called with each warning about a store.
    """
    deadline = read_deadline(get_option)
    is_redis = "://" in str(get_option("store"))
    with contextlib.closing(open_store(get_option, deadline)) as target:
        try:
            opened = open_store(source.get, deadline)
        except OptionError as error:
            raise OptionError(f"copy_from: {error.message}", code=error.code) from None
        with contextlib.closing(opened):
            if _is_same_store(get_option("store"), source["store"]):
                raise OptionError(
                    "store and copy_from name the same store. To re-encrypt its records, use rekey instead of copy_from."
                )
            if not opened.exists():
                raise OptionError(
                    "copy_from: the directory in store does not exist. Check its path and the user who runs the task."
                )
            try:
                yield opened, Target(target, deadline, accepts_keep_alive=target.encrypted or not is_redis)
            finally:
                for warning in (*target.warnings, *opened.warnings):
                    warn(warning)


def _is_same_store(store: t.Any, other: t.Any) -> bool:
    """Return True if two addresses are of the same store, as far as the addresses reveal it."""
    place, other_place = read_place(store), read_place(other)
    if isinstance(place, str) and isinstance(other_place, str):
        return os.path.realpath(place) == os.path.realpath(other_place)
    return place == other_place
