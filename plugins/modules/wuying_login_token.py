#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_token
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Log in and keep the token valid
version_added: 0.1.0
description:
  - Ensures that one session of WUYING Workspace (cloud desktops of Alibaba Cloud) has a current login token, and returns the token.
  - A login token is valid for minutes or hours. If it is valid for at most O(refresh_before) seconds, it is stale, and the module refreshes it with
    the service's operation C(RefreshLoginToken). Otherwise, it is current, and the module changes nothing and sends no request.
  - The first token comes from O(password), with which the module logs in, or from O(login_token), which another program obtained. The newest
    token is saved in a store, so either is needed only once. You can pass both in every task. The module recognizes tokens that the session
    has already used, and sends the password only if a login is necessary.
  - If the service no longer accepts the token, for example because no task ran while it was valid, the module logs in again. It uses the
    keep-alive token that O(stay_logged_in) has stored, and otherwise O(password). With neither, the task fails, and the user must log in.
  - The module uses the store, the environment, and the Python package C(requests) of the host and the user that run the task. Usually, run it
    with C(delegate_to=localhost) and C(become=false).
  - If a refresh fails for any reason other than a rejected token, the stored token is returned with a warning as long as it is valid. The
    task fails if the service rejects that token and no login is possible, if the token has expired, with a new O(login_token), and with
    O(force=true).
  - To avoid locking the account, a password that the service refused is not sent again for an hour, and after its second refusal for 24 hours.
    See O(password).
  - The service does not specify whether a token remains valid after its refresh. Assume that it does not. A returned token is valid until
    RV(expires_at) at most, and becomes invalid earlier if the session is refreshed again. In a long play, get the token again where you use
    it, with this module or with the lookup P(wuying.workspace.wuying_login_token#lookup).
extends_documentation_fragment:
  - wuying.workspace.attributes
  - wuying.workspace.session
  - wuying.workspace.store
  - wuying.workspace.service
attributes:
  check_mode:
    support: full
    details:
      - Predicts the result from the stored record. Sends and writes nothing. Returns the stored token only if it is still valid. Fails
        if the task would log in with a password that must wait.
  diff_mode:
    support: full
    details:
      - Shows the expiry of the token and the first 12 digits of its SHA-256 fingerprint, but never the token.
  idempotent:
    support: partial
    details:
      - While the token is current, running the task again changes nothing.
      - With O(force=true) or O(store=none), every run refreshes the token or logs in.
options:
  end_user_id:
    description:
      - The end user of the session, for example V(alice).
    type: str
    required: true
  login_token:
    description:
      - The login token to start the session with, as issued when the user logged in with another program. It, or O(password), is required if
        the store has no record of the session, or if the session has ended because the service rejected its token.
      - A token that is not in the record means that the user has logged in again. It is refreshed at once. If the service rejects it, and
        O(password) is set or a keep-alive token is stored, the task continues without it.
      - If not set, the environment variable E(WUYING_LOGIN_TOKEN) is used, for every session of this task, even in a loop. Set the variable
        for one session only, and unset it afterwards.
    type: str
  session_id:
    description:
      - The C(SessionId) that the service issued with O(login_token). It is stored with that token and sent with each refresh of the session.
      - It has no effect without O(login_token), or if the session has already used that token. After a login with O(password), the
        module stores the ID itself.
      - If not set, none is sent.
    type: str
  password:
    description:
      - The password of the end user. The module logs in with it if the store has no record of the session, if the service no longer accepts
        the login token and no stored keep-alive token can repair the session, or with O(force=true).
      - It is sent only to O(endpoint), over TLS, and never stored. It cannot contain a line break, and it has at most 1,024 characters. Logins
        are not signed, so they need no access key.
      - To avoid locking the account, the store remembers logins that were not completed. A password that the service refused is not sent again
        for an hour, and after its second refusal for 24 hours. If the outcome is unknown, it waits 5 minutes. The wait doubles each time, up to an
        hour. Another password is sent at once, but after three refusals within 24 hours, none is sent for the account. Until the wait ends, tasks
        fail with C(error_code=LoginBlocked). O(force=true) logs in all the same, and a completed login ends all waits. This works only among tasks
        that share a store.
      - If O(endpoint) is neither the endpoint of the region nor a loopback address, the first login of a session requires O(force=true).
        With O(validate_certs=false), a password is sent to loopback addresses only. O(store=none) does not support passwords.
      - Environment variables are not used. Take the password from a vault.
    type: str
  totp_secret:
    description:
      - The secret of the user's MFA device. If the service asks for a one-time code, the module computes it.
      - It is base32, as displayed when the device was set up, or the URI in the QR code, which begins with C(otpauth://totp/). Spaces,
        lowercase letters and missing padding are accepted. Only codes of 6 digits with SHA-1 and a period of 30 seconds are supported.
      - Each code is sent at most once. If necessary, the module waits for the next one, for up to 30 seconds.
      - It requires O(password), and takes precedence over O(authentication_code).
    type: str
  authentication_code:
    description:
      - The one-time code that the user's MFA device currently displays. It has exactly 6 digits. Quote it, because YAML reads digits without
        quotes as a number. It requires O(password).
      - To log in unattended, use O(totp_secret) instead, or O(stay_logged_in).
    type: str
  stay_logged_in:
    description:
      - Whether to ask the service for a keep-alive token when the module logs in with O(password), and to store it. From then on, each task or
        lookup that finds the session lost logs in with the keep-alive token, without a password.
      - If no login is necessary, the option has no effect. With O(force=true) and O(password), the module logs in now.
      - A stored keep-alive token is used and renewed even if this option is V(false). O(state=absent) deletes it together with the record.
      - A keep-alive token can log the user in for days, so protect the store. A Redis store requires O(store_key).
      - If the service issues no keep-alive token, a warning says so.
    type: bool
    default: false
  uuid:
    description:
      - The identifier of the device, for office networks that admit trusted devices only. It is sent with each login.
      - It is stored with the session. Later tasks for the session need not repeat it.
      - If not set, the stored one is sent, if any.
    type: str
  state:
    description:
      - V(present) ensures that the session has a current token.
      - V(absent) deletes the record of the session from the store, even if the record is damaged, or not encrypted although O(store_key) is
        set. It sends no request, so the login token and the keep-alive token remain valid until they expire. If there is no record, nothing
        changes, and RV(msg) says so. It does not end the wait of an account, see O(password).
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Whether to refresh the token even if it is current, or if the service has rejected it before.
      - With O(password), whether to log in even if the token is current, and even if the account has to wait, see O(password). Check the
        password first, because a refusal counts.
    type: bool
    default: false
  return_token:
    description:
      - Whether to return RV(login_token). With V(false), you can still get the token with the lookup
        P(wuying.workspace.wuying_login_token#lookup), if it uses the same store as the same user.
      - O(store=none) requires V(true).
    type: bool
    default: true
notes:
  - A registered result contains the token in plain text. Set C(no_log=true) on the task, as the examples do.
  - On ansible-core 2.22 and later, the token is registered as a secret, and Ansible masks it in all output. On earlier versions, only
    C(no_log=true) hides it.
  - Pass credentials in the environment variables of the official tools or from a vault. Do not set these variables with the C(environment)
    keyword of a task. Ansible then puts them on a command line that other users can read, and prints them at C(-vvv) despite
    C(no_log=true).
seealso:
  - module: wuying.workspace.wuying_login_tokens
    description: Keeps the login tokens of many sessions valid in one task.
  - module: wuying.workspace.wuying_login_token_info
    description: Lists the sessions in a store.
  - plugin: wuying.workspace.wuying_login_token
    plugin_type: lookup
    description: Returns the current token where you use it.
  - name: RefreshLoginToken
    description: Reference of the operation in the service's documentation.
    link: https://www.alibabacloud.com/help/en/wuying-workspace/developer-reference/api-ecd-2020-10-02-refreshlogintoken
  - name: GetLoginToken
    description: Reference of the operation in the service's documentation.
    link: https://www.alibabacloud.com/help/en/wuying-workspace/developer-reference/api-ecd-2020-10-02-getlogintoken
"""

EXAMPLES = r"""
---
# Credentials are in the environment variables ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET. They sign refreshes.
# The password comes from a vault. It is sent only if no token is stored, or if the service no longer accepts the stored one.
- name: Log in if necessary
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: 3c1f6a52-7d0e-4f3b-8a11-5b9f6d2e0000
    end_user_id: carol
    password: "{{ carol_password }}"
    return_token: false
  delegate_to: localhost
  become: false
  no_log: true

# After this login, the session repairs itself with a keep-alive token. Later tasks do not need the password.
- name: Log in with a password and a one-time code, and stay logged in
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: 9e7d0b14-2c55-4a6e-b1f0-7a3c8e4d0000
    end_user_id: dave
    password: "{{ dave_password }}"
    totp_secret: "{{ dave_totp_secret }}"
    stay_logged_in: true
    return_token: false
  delegate_to: localhost
  become: false
  no_log: true

- name: Log in now, although the token is current or the account has to wait
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: 3c1f6a52-7d0e-4f3b-8a11-5b9f6d2e0000
    end_user_id: carol
    password: "{{ carol_password }}"
    stay_logged_in: true
    force: true
    return_token: false
  delegate_to: localhost
  become: false
  no_log: true

- name: Start the session of alice with a token from another program
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    login_token: "{{ alice_login_token }}"
  delegate_to: localhost
  become: false
  no_log: true

- name: Refresh the token if it is stale, and return it
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
  delegate_to: localhost
  become: false
  no_log: true
  register: alice

- name: Show how long the token is valid
  ansible.builtin.debug:
    msg: "The token of alice is valid for at most {{ alice.remaining }} seconds."

- name: Refresh the token if it is stale, without returning it
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    return_token: false
  delegate_to: localhost
  become: false

# The service in this example issues tokens that are valid for 8 hours. Later tasks for the session need not repeat the validity.
- name: Ensure that the token is valid for at least half an hour
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    validity: 28800
    refresh_before: 1800
    return_token: false
  delegate_to: localhost
  become: false

- name: Refresh the token now
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    force: true
    return_token: false
  delegate_to: localhost
  become: false

- name: Delete the record of the session
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    state: absent
  delegate_to: localhost
  become: false
"""

RETURN = r"""
login_token:
  description:
    - The current login token.
  returned: if there is a token and O(return_token=true), or if the token could not be saved
  type: str
  sample: v1c27bab6c205b2fdfac9****
obtained_at:
  description:
    - The time just before the request that obtained the token was sent, in UTC.
  returned: if there is a token
  type: str
  sample: "2026-01-31T08:00:00Z"
expires_at:
  description:
    - The time at which the token expires at the latest, in UTC. The token becomes invalid earlier if the session is refreshed again.
  returned: if there is a token
  type: str
  sample: "2026-01-31T08:15:00Z"
remaining:
  description:
    - The number of seconds until RV(expires_at). The token is valid for at most this time.
  returned: if there is a token
  type: int
  sample: 893
source:
  description:
    - The origin of the token. V(store) if it was read from the store, V(refresh) if this task refreshed it, and V(login) if this task
      logged in.
  returned: if there is a token
  type: str
  sample: store
session_id:
  description:
    - The service's ID of the login that the token comes from. Other operations of the service need it with the token. Null if it is not known.
  returned: if there is a token
  type: str
  sample: cd45e873-650d-4d70-acb9-f996187a0000
session:
  description:
    - The identity of the session.
  returned: if there is a token
  type: dict
  sample:
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    endpoint: https://ecd.cn-hangzhou.aliyuncs.com
    office_site_id: cn-hangzhou+dir-2381912345
    region_id: cn-hangzhou
stays_logged_in:
  description:
    - Whether the session can repair itself, because a keep-alive token is stored, see O(stay_logged_in).
  returned: if there is a token
  type: bool
  sample: true
request_id:
  description:
    - The service's ID of the request that obtained the token, or of the request that failed.
  returned: if the service returned an ID
  type: str
  sample: 1CBAFFAB-B697-4049-A9B1-67E1FC5F0000
kept:
  description:
    - V(false) if a new token was obtained but could not be saved. The task fails, and RV(login_token) is the only copy of the token.
  returned: if the token could not be saved
  type: bool
  sample: false
error_code:
  description:
    - The error code of the service if it returned one, otherwise an error code of this collection.
    - "V(NoLoginToken): No token is stored for the session."
    - "V(SessionEnded): The token has expired, and the service has rejected it before."
    - "V(OutcomeUnknown): An earlier refresh was interrupted, its response is lost, and the service now rejects the token."
    - "V(LoginRefused): The service refused a login and returned no code."
    - "V(AccountLocked): The service refused a login because the account is locked, and returned no code."
    - "V(LoginBlocked): No password was sent, because an earlier login was refused or its outcome is unknown. The wait ends at
      RV(blocked_until)."
    - "V(LoginNeedsPerson): The login reached RV(stage), which only a person can pass, or which needs O(authentication_code) or O(totp_secret)."
    - The page L(Troubleshooting,https://wuying-workspace.github.io/wuying.workspace/collections/wuying/workspace/docsite/troubleshooting.html)
      lists all codes.
  returned: failure
  type: str
  sample: Throttling.User
login_needed:
  description:
    - Whether only a person can continue the session. The user must log in again. Then pass the new token as O(login_token), or pass O(password).
    - This is the case if no token is stored, if the service rejects the token and no login is possible, and if a login reaches a stage that
      needs a person. The service rejects a token if its error code names the token, or if it refuses a token that has expired or that was
      passed. Error codes about credentials, permissions, payments, locks, conflicts, limits, the clock, or the endpoint are not rejections.
    - V(false) if O(password) was refused or has to wait. Then check the password.
  returned: failure
  type: bool
  sample: true
msg:
  description:
    - What happened and what to do.
  returned: failure, or if O(state=absent) finds no record
  type: str
  sample: >-
    The service rejected the session's login token (InvalidLoginToken). The user must log in again, for example with the playbook
    wuying.workspace.log_in. Or pass password or a new login_token to wuying_login_token.
stage:
  description:
    - The stage of the login that failed. C(ADPassword) is the password, C(MFAVerify) the one-time code, and C(KeepAliveVerify) the keep-alive
      token. If a keep-alive token is not enough, it is the stage that the service asks for. A person must pass C(MFABind) (bind an MFA device),
      C(TokenVerify) (enter a code from a mail), C(ChangePassword), and any other stage, with the WUYING client.
  returned: failure, if a login failed
  type: str
  sample: MFAVerify
blocked_until:
  description:
    - The time in UTC before which no login with the same secret is sent, see O(password). The keep-alive token waits in the same way.
  returned: failure, if a login has to wait
  type: str
  sample: "2026-01-31T09:00:00Z"
http_status:
  description:
    - The HTTP status of the service's response.
  returned: failure, if the service responded
  type: int
  sample: 429
retryable:
  description:
    - Whether the same task can succeed later without changes.
  returned: failure
  type: bool
  sample: true
"""

import time

from ansible.module_utils.basic import env_fallback

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import Outcome
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import argument_spec, login_spec
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_request
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import compare, describe
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec={
            **argument_spec(),
            **login_spec(),
            # Only this module reads the variable, so that its token is never used for another user.
            "login_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["WUYING_LOGIN_TOKEN"])},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "force": {"type": "bool", "default": False},
            "return_token": {"type": "bool", "default": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    module.execute(lambda: finish(module, *run(module)))


def run(module: Module) -> tuple[Outcome, str | None]:
    """Return the outcome of the task, and a message about it. Raises :class:`WuyingError`."""
    params = module.params
    if params["store"] == "none" and (params["state"] == "absent" or not params["return_token"]):
        raise OptionError("store=none needs state=present and return_token=true, because nothing is stored.")
    request = read_request(params.get)
    login = request.password_login
    if login is not None:  # Only this module forces a login.
        request = request._replace(password_login=login._replace(force=params["force"]))
    with open_keeper(params.get, module.warn) as keeper:
        key = request.session.key
        if params["state"] == "absent":
            outcome = keeper.delete(key, check=module.check_mode)
            from ansible_collections.wuying.workspace.plugins.module_utils._keeper.advice import not_stored

            message = f"{not_stored(request.session, keeper.store.name)} Nothing was deleted. Check the options that identify the session."
            return outcome, None if outcome.changed else message
        if module.check_mode:
            return keeper.predict(request, keeper.store.read(key), module.warn), None
        return keeper.ensure(request, module.warn), None


def finish(module: Module, outcome: Outcome, message: str | None) -> None:
    """Exit with the result of the task."""
    params = module.params
    return_token = params["return_token"] or outcome.not_saved is not None
    result = describe(outcome, time.time(), return_token=return_token)
    if message is not None:
        result["msg"] = message
    result["diff"] = compare(outcome, predicted=module.check_mode and params["state"] == "present")
    if outcome.not_saved is not None:
        # The request succeeded, so its ID is that of the new token.
        failure = {**outcome.not_saved.as_result(), "request_id": result["request_id"]}
        module.fail_json(msg=outcome.not_saved.message, kept=False, **{**result, **failure})
    module.exit_json(**result)


if __name__ == "__main__":
    main()
