# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that select the store and protect it."""

    DOCUMENTATION = r"""
options:
  store:
    description:
      - Where to store the records of sessions. A directory belongs to the host and the user that run this plugin. A Redis store
        can be shared by several hosts and users.
      - To use a directory, set its absolute path. C(~) and environment variables are expanded. If the directory does not exist, it is
        created with mode C(0700). Its files have mode C(0600). A directory or file that other users can access, or that belongs to
        another user, is rejected. So is a store that other users could replace. Its parent directories must belong to root or to the user,
        and other users must not be able to write to them, except to a sticky one such as C(/tmp). The path must not be a symbolic link.
      - Each session has the files C(KEY.record) and C(KEY.lock). They are updated in place. A session takes 16 KiB of disk space, and
        more only if its tokens are unusually long. The lock file remains after the record is removed. A damaged record is renamed to
        C(KEY.damaged-TIME). It can contain a token, so delete it after you have examined it. An account that logged in with a password has a
        file, too. Its key begins with C(account-).
      - To use Redis, for example for controllers in containers or on several machines, set a URL. For a single server, use
        V(redis://HOST:PORT/DB), V(rediss://HOST:PORT/DB) (with TLS), or V(unix:///PATH). For a Redis Cluster, use
        V(redis+cluster://HOST:PORT,HOST:PORT). For Sentinel, use V(redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB). With TLS, the last
        two begin with V(rediss+cluster://) and V(rediss+sentinel://). A URL cannot contain a user name or password. Use O(store_username)
        and O(store_password) instead. Records expire 30 days after their tokens.
      - How durable records in Redis are depends on the configuration of the server. A task that refreshes a token warns if Redis does not
        save data to disk or can evict records.
      - In the lookup, the variable C(wuying_store) can name a Redis server without TLS only if it is on loopback, because inventories and roles can
        set variables.
      - Login tokens and keep-alive tokens are stored unencrypted unless O(store_key) is set. Only file permissions or the access control of
        Redis protect unencrypted tokens.
      - With V(none), nothing is stored, and each task refreshes the token that is passed to it.
      - If not set, the environment variable E(WUYING_TOKEN_STORE) is used.
      - If neither is set, the directory C(wuying.workspace/login_tokens) in the user's XDG state directory (E(XDG_STATE_HOME), by default
        C(~/.local/state)) is used.
    type: str
  store_username:
    description:
      - The user name for a Redis store.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_USERNAME) is used, if O(store) comes from the environment too.
      - If neither is set, the default user of Redis is used.
    type: str
  store_password:
    description:
      - The password for a Redis store.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_PASSWORD) is used, if O(store) comes from the environment too. If O(store) comes
        from elsewhere, the variable is an error, so that its password is never sent to a server that someone else chose.
      - If neither is set, no password is sent.
    type: str
  store_ca_path:
    description:
      - The path of a file or directory of CA certificates. They are used to verify a Redis server that is reached over TLS. Verification
        cannot be disabled.
      - C(~) and environment variables in the path are expanded.
      - If not set, the CA certificates of the operating system are used.
    type: str
  store_key:
    description:
      - One or more keys that encrypt records, both in a directory and in Redis. A key consists of 32 bytes in URL-safe base64. You can
        create one with C(Fernet.generate_key) of the Python package C(cryptography).
      - The first key encrypts records. All keys decrypt them.
      - To replace a key, put the new key first and keep the old key after it. A record is encrypted with the new key at its next refresh. To
        encrypt all records now, run M(wuying.workspace.wuying_login_tokens) with C(rekey=true). Then remove the old key.
      - A record that is not encrypted is refused with C(error_code=NotEncrypted), because anyone who can write to the store may have created
        it. To start to encrypt an existing store, run M(wuying.workspace.wuying_login_tokens) with C(rekey=true) once.
      - A record that no key can decrypt is not changed, and the task fails with C(error_code=WrongStoreKey).
      - An empty string, an empty list, or an empty element is an error, because records would not be encrypted.
      - If not set, the environment variable E(WUYING_TOKEN_STORE_KEY) is used, if O(store) comes from the environment too or is not set. It can
        contain several keys separated by commas. If O(store) comes from elsewhere, the variable is an error.
      - If neither is set, records are not encrypted.
    type: list
    elements: str
requirements:
  - redis (redis-py 5 or later), only for a store in Redis
  - cryptography, only for O(store_key)
"""

    LOOKUP = r"""
options:
  store:
    vars:
      - name: wuying_store
    ini:
      - section: wuying_login_token_lookup
        key: store
  store_username:
    vars:
      - name: wuying_store_username
    ini:
      - section: wuying_login_token_lookup
        key: store_username
  store_password:
    vars:
      - name: wuying_store_password
  store_ca_path:
    vars:
      - name: wuying_store_ca_path
    ini:
      - section: wuying_login_token_lookup
        key: store_ca_path
  store_key:
    vars:
      - name: wuying_store_key
"""
