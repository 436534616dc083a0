# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Where records are kept."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - Where the records of the sessions are kept, on the host that runs this plugin, as the user who runs it.
      - Either the absolute path of a directory, in which C(~) and environment variables are expanded. It is made where it
        is missing, with mode C(0700) and files of C(0600). A directory or file that other users have access to, or that
        belongs to another user, is refused.
      - A record has the login token in the clear, and only the file's mode protects it. A session has the files C(KEY.json), and C(KEY.lock),
        which stays. A damaged record is kept as C(KEY.damaged-TIME) and may hold a token. Remove it when you have looked at it.
      - Or V(none), to keep nothing. Then every task exchanges the token that it is given.
      - Addresses of Redis servers are reserved for a later version and are an error now.
      - Without it and without the environment variable E(WUYING_TOKEN_STORE) the directory
        C(wuying.workspace/login_tokens) in the user's XDG state folder (E(XDG_STATE_HOME), by default C(~/.local/state))
        is used.
    type: str
  store_username:
    description:
      - Reserved for the user name of a Redis store, has no effect in this version.
      - Without it the environment variable E(WUYING_TOKEN_STORE_USERNAME) counts.
    type: str
  store_password:
    description:
      - Reserved for the password of a Redis store, has no effect in this version.
      - Without it the environment variable E(WUYING_TOKEN_STORE_PASSWORD) counts.
    type: str
"""

    LOOKUP = r"""
options:
  store:
    env:
      - name: WUYING_TOKEN_STORE
    vars:
      - name: wuying_store
    ini:
      - section: wuying_login_token_lookup
        key: store
  store_username:
    env:
      - name: WUYING_TOKEN_STORE_USERNAME
    vars:
      - name: wuying_store_username
    ini:
      - section: wuying_login_token_lookup
        key: store_username
  store_password:
    env:
      - name: WUYING_TOKEN_STORE_PASSWORD
    vars:
      - name: wuying_store_password
"""
