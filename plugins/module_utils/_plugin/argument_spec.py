# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declare the options that the modules share, with their types and defaults.

The lookup declares the same options in its documentation.
"""

from __future__ import annotations

import typing as t

Spec = t.Dict[str, t.Dict[str, t.Any]]

IDENTITY = ("region_id", "client_id", "office_site_id", "end_user_id", "directory_id", "endpoint")
"""The options that identify a session."""
LOGIN_SECRETS = ("password", "totp_secret", "authentication_code")
"""The options that contain the secrets of a login."""
SECRETS = ("login_token", *LOGIN_SECRETS, "access_key_secret", "security_token", "store_password", "store_key")
"""The options that contain secrets."""
SECRET_VARIABLES = (
    "WUYING_LOGIN_TOKEN",
    "WUYING_TOKEN_STORE_PASSWORD",
    "WUYING_TOKEN_STORE_KEY",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
)
"""The environment variables that contain secrets."""


def argument_spec(*, one_session: bool = True) -> Spec:
    """Return the argument spec of the shared options. With ``one_session``, those that identify a session are required."""
    return {
        "region_id": {"type": "str", "required": one_session},
        "client_id": {"type": "str", "required": one_session},
        "office_site_id": {"type": "str", "required": one_session},
        "end_user_id": {"type": "str", "required": one_session},
        "directory_id": {"type": "str"},
        "endpoint": {"type": "str"},
        "validity": {"type": "int"},
        "refresh_before": {"type": "int", "default": 300},
        **store_spec(),
        **service_spec(),
    }


def store_spec(*, required: bool = False) -> Spec:
    """Return the argument spec of the options that select a store and protect it."""
    return {
        "store": {"type": "str", "required": required},
        "store_username": {"type": "str"},
        "store_password": {"type": "str", "no_log": True},
        "store_ca_path": {"type": "str"},
        "store_key": {"type": "list", "elements": "str", "no_log": True},
    }


def session_spec() -> Spec:
    """Return the argument spec of one of many sessions of a lookup, which logs in with stored keep-alive tokens only."""
    return {
        **{name: {"type": "str"} for name in IDENTITY},
        "session_id": {"type": "str"},
        "login_token": {"type": "str", "no_log": True},
    }


def login_spec() -> Spec:
    """Return the argument spec of the options that belong to one session and may start it."""
    return {
        "session_id": {"type": "str"},
        **{name: {"type": "str", "no_log": True} for name in ("login_token", *LOGIN_SECRETS)},
        "stay_logged_in": {"type": "bool", "default": False},
        "uuid": {"type": "str"},
    }


def service_spec() -> Spec:
    """Return the argument spec of the options that describe how requests are sent."""
    return {
        "auth_method": {
            "type": "str",
            "default": "access_key",
            "choices": ["access_key", "provider_chain", "anonymous"],
        },
        "access_key_id": {"type": "str"},
        "access_key_secret": {"type": "str", "no_log": True},
        "security_token": {"type": "str", "no_log": True},
        "signature_version": {"type": "str", "default": "v3", "choices": ["v3", "v1"]},
        "timeout": {"type": "float", "default": 10.0},
        "retries": {"type": "int", "default": 3},
        "deadline": {"type": "float", "default": 60.0},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "str"},
        "proxy": {"type": "str"},
    }
