# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read and check the options of a login with a password.

No message repeats a value, because it may be a misplaced secret.
"""

from __future__ import annotations

import re
import typing as t

from .._keeper.decision import PasswordLogin
from .._model.endpoint import LOGIN_NEEDS_TLS, is_loopback
from .._model.exceptions import OptionError
from .._model.session import Session
from .._model.totp import read_secret

_LONGEST_PASSWORD = 1024
_CODE = re.compile(r"[0-9]{6}")


def read_login(
    get_option: t.Callable[[str], t.Any],
    session: Session,
    password: str | None,
    totp_secret: str | None,
    *,
    stay_logged_in: bool,
    validate_certs: bool,
) -> PasswordLogin | None:
    """Return how to log in with a password, None if no password was given. Raises :class:`OptionError`."""
    code = get_option("authentication_code")
    if get_option("store") == "none":
        raise OptionError(
            "password and stay_logged_in need a store, because a login is worthless if its tokens are not stored. Remove store=none."
        )
    if stay_logged_in and "://" in str(get_option("store")) and get_option("store_key") is None:
        raise OptionError(
            "stay_logged_in needs store_key with a Redis store, because the keep-alive token that is stored logs the user in."
        )
    if password is None:
        for name, value in (("totp_secret", totp_secret), ("authentication_code", code)):
            if value is not None:
                raise OptionError(f"{name} needs password. Pass both, or neither.")
        return None
    if len(password) > _LONGEST_PASSWORD:
        raise OptionError(f"password must have at most {_LONGEST_PASSWORD:,} characters.")
    if totp_secret is not None:
        read_secret(totp_secret)
    if code is not None and not _CODE.fullmatch(str(code)):
        raise OptionError('authentication_code must consist of exactly 6 digits. Quote it, such as "012345".')
    if not validate_certs and not is_loopback(session.endpoint):
        raise OptionError(LOGIN_NEEDS_TLS)
    return PasswordLogin(password, totp_secret, code and str(code), stay_logged_in)
