# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundle what a task needs to obtain tokens."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .._service.client import ServiceClient
    from .._store.base import Store
    from .login_limit import LoginLimit


class Means(t.NamedTuple):
    """The store, the service and the settings for all sessions of a task."""

    store: Store
    connect: t.Callable[[], ServiceClient]
    connect_unsigned: t.Callable[[], ServiceClient]
    scope: str
    deadline: float
    clock: t.Callable[[], float]
    login_limit: LoginLimit | None
