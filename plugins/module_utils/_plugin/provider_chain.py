# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The provider chain of Alibaba Cloud's own package: roles, configuration files, metadata, a credentials URI."""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._model.exceptions import MissingLibraryError, ServiceError
from .._runtime.timeouts import run_with_timeout
from .._service.silence import silence


def ask_provider_chain(deadline: float) -> tuple[str, str, str | None]:
    """Return an access key's ID, secret and security token, by ``deadline`` of :func:`time.monotonic`.

    Raises :class:`ServiceError`, which says nothing of what the chain says: that may quote a secret or a signed URL.
    """
    try:
        found = run_with_timeout(deadline - time.monotonic(), _ask_provider_chain)
    except ImportError:
        raise MissingLibraryError(missing_required_lib("alibabacloud-credentials")) from None
    except Exception as error:
        found, late = None, isinstance(error, TimeoutError)
    else:
        late = False
    if found is None or not found.access_key_id or not found.access_key_secret:
        raise ServiceError(
            "The provider chain of alibabacloud-credentials found no access key: set one of the sources that it reads, "
            "or choose another auth_method.",
            code="MissingCredentials",
            retryable=late,
        )
    return found.access_key_id, found.access_key_secret, found.security_token


def _ask_provider_chain() -> t.Any:
    with silence():
        from alibabacloud_credentials.client import Client

        return Client().get_credential()
