# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stop the logins of a task if the service refuses them one after the other, also in several processes."""

from __future__ import annotations

import mmap

from .._model.exceptions import LoginNeedsPerson, LoginRefused, LoginsStopped, WuyingError
from .._service.login import MFA

MOST_REFUSED = 20
"""After so many logins were refused and none was accepted, a task sends no more."""
_REFUSED, _ACCEPTED = 0, 1


class LoginLimit:
    """Counts the logins of a task and of the processes that it forks.

    There is no lock. If two processes count a login at the same time, one of them may be missed.
    """

    def __init__(self) -> None:
        self._counts = mmap.mmap(-1, 2)

    def check(self) -> None:
        """Raise :class:`LoginsStopped` if no more logins may be sent."""
        if self._counts[_REFUSED] >= MOST_REFUSED and not self._counts[_ACCEPTED]:
            raise LoginsStopped(
                f"The service refused the first {MOST_REFUSED} logins of this task and accepted none, so no more were sent. "
                "Check the service and the options of the task, then run it again."
            )

    def count(self, error: WuyingError | None) -> None:
        """Count a login that failed with an error, or that was accepted. That a code is missing is no refusal."""
        if error is None:
            self._counts[_ACCEPTED] = 1
        elif isinstance(error, LoginRefused) or (isinstance(error, LoginNeedsPerson) and error.stage != MFA):
            self._counts[_REFUSED] = min(255, self._counts[_REFUSED] + 1)
