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
      - A session has the files C(KEY.record), and C(KEY.lock), which stays. They are written in place, and take up to 64 KiB of the disk. A damaged
        record is kept as C(KEY.damaged-TIME) and may hold a token. Remove it when you have looked at it.
      - Or the address of Redis, for controllers that live in containers or on several machines, V(redis://HOST:PORT/DB), V(rediss://HOST:PORT/DB) (with TLS)
        or V(unix:///PATH) for one server, V(redis+cluster://HOST:PORT,HOST:PORT) for a Redis Cluster and
        V(redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB) for Sentinel. The last two become V(rediss+cluster://) and V(rediss+sentinel://) with TLS. User
        names and passwords have options of their own. Records expire 30 days after their token.
      - What Redis promises is what its operator set. A task that exchanges warns when Redis saves nothing to a disk or may drop records.
      - Records have the login token in the clear unless there is O(store_key). Then only the file's mode or Redis' own access control
        protects them.
      - Or V(none), to keep nothing. Then every task exchanges the token that it is given.
      - Without it and without the environment variable E(WUYING_TOKEN_STORE) the directory
        C(wuying.workspace/login_tokens) in the user's XDG state folder (E(XDG_STATE_HOME), by default C(~/.local/state))
        is used.
    type: str
  store_username:
    description:
      - The user name for a Redis store, where its access control knows users.
      - Without it the environment variable E(WUYING_TOKEN_STORE_USERNAME) counts.
    type: str
  store_password:
    description:
      - The password for a Redis store.
      - Without it the environment variable E(WUYING_TOKEN_STORE_PASSWORD) counts.
    type: str
  store_ca_path:
    description:
      - A file or directory of CA certificates to verify a Redis server with that is reached by TLS.
      - Without it the certificates of the system count. There is no way to leave the server unverified.
    type: path
  store_key:
    description:
      - One or more keys to encrypt records with, in a directory and in Redis, 32 bytes each in URL-safe base64. C(Fernet.generate_key) of the
        Python package C(cryptography) makes one.
      - The first key encrypts and all decrypt. To change keys put the new one first and leave the old one behind it; a record is encrypted with the first
        key at its next exchange, and all are when M(wuying.workspace.wuying_login_tokens) runs with C(rekey=true). Then drop the old one.
      - A record in the clear is read, and encrypted when it is written next. A record that none of the keys decrypts is left alone, and the task
        fails with C(error_code=WrongStoreKey).
      - Without it the environment variable E(WUYING_TOKEN_STORE_KEY) counts, with commas between several keys.
    type: list
    elements: str
requirements:
  - redis (redis-py 5 or later), for a store in Redis only
  - cryptography, for O(store_key) only
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
  store_ca_path:
    vars:
      - name: wuying_store_ca_path
    ini:
      - section: wuying_login_token_lookup
        key: store_ca_path
  store_key:
    env:
      - name: WUYING_TOKEN_STORE_KEY
    vars:
      - name: wuying_store_key
"""
