#!/usr/bin/python

# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wuying_login_token
author:
  - The wuying.workspace authors (@wuying-workspace)
short_description: Keep the login token of a WUYING Workspace session current
version_added: 0.1.0
description:
  - Ensures that the login token of one session of WUYING Workspace (Alibaba Cloud's cloud desktops) is current, and returns it.
  - A login token lives for minutes. This module exchanges it for the next with the service's operation
    C(RefreshLoginToken) when it is stale, and only then. While it is current the task changes nothing and sends nothing.
  - The token that came last is kept in a store. So O(login_token) is needed once, to start the session. Passing it every
    time does no harm, because a token that the session has used up is recognized.
  - The module runs where the task runs. Its store, its environment and its C(requests) are those of that host and that user.
    Normal use is C(delegate_to=localhost) with C(become=false).
  - The service does not say whether a token survives its exchange, so assume that it does not. A token that was
    returned is good at most until RV(expires_at), and may be dead earlier when the session is exchanged again. Where a play
    runs for long, ask again where the token is used, with this module or with the lookup
    P(wuying.workspace.wuying_login_token#lookup).
extends_documentation_fragment:
  - wuying.workspace.attributes
  - wuying.workspace.session
  - wuying.workspace.store
  - wuying.workspace.service
attributes:
  check_mode:
    support: full
    details:
      - Predicts from the record, sends and writes nothing. The token is returned only where it lives.
  diff_mode:
    support: full
    details:
      - Shows when the token expires and the first 12 digits of its SHA-256 fingerprint, never the token.
  idempotent:
    support: partial
    details:
      - A second run changes nothing while the token is current.
      - With O(force=true) or O(store=none) every run exchanges.
options:
  end_user_id:
    description:
      - The end user whose session it is, such as V(alice).
    type: str
    required: true
  login_token:
    description:
      - The token to start from, as the user's login gave it. Needed when nothing is kept of the session, or when the session
        has ended and the user has logged in again.
      - A token that the record does not know means that the user has logged in again, and is exchanged at once.
      - Without it the environment variable E(WUYING_LOGIN_TOKEN) counts, for every session that this task or a loop names. So set it for one session
        only, and unset it afterwards.
    type: str
  state:
    description:
      - V(present) ensures that the session's token is current.
      - V(absent) removes the record of the session and sends nothing. The token stays valid for as long as it lives.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Exchange the token even when it is current, and even when the service has refused it before.
    type: bool
    default: false
  return_token:
    description:
      - Whether the result has RV(login_token) in it. Without it the lookup P(wuying.workspace.wuying_login_token#lookup) still finds
        the token, where it reads the same store as the same user.
      - O(store=none) needs V(true).
    type: bool
    default: true
notes:
  - A registered result has the token in the clear. Set C(no_log=true) on the task, as the examples do.
  - C(ANSIBLE_DEBUG) makes Ansible itself print options and results of a task, secrets included. Use it for no real session.
  - C(async) leaves the result of a task in a job file. Combine it with O(return_token=false) only.
  - On ansible-core 2.22 and later the token is registered as a secret, and Ansible masks it in all that it prints. Before that only
    C(no_log=true) hides it.
  - Credentials are best given by the environment variables of the official tools or from a vault. Do not set these variables by the keyword
    C(environment) of a task. Ansible puts them into a command line then, which others can read and which it prints at C(-vvv), in spite of
    C(no_log=true).
seealso:
  - plugin: wuying.workspace.wuying_login_token
    plugin_type: lookup
    description: Puts the current token where it is used.
  - name: RefreshLoginToken
    description: The service's reference of the operation.
    link: https://www.alibabacloud.com/help/en/wuying-workspace/developer-reference/api-ecd-2020-10-02-refreshlogintoken
"""

EXAMPLES = r"""
---
# The session starts with the token that the user's login gave. Credentials come from the environment variables
# ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET.
- name: Start the session of alice
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    login_token: "{{ alice_login_token }}"
  delegate_to: localhost
  become: false
  no_log: true

- name: Keep it current, and use the token
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
  delegate_to: localhost
  become: false
  no_log: true
  register: alice

- name: Show how long the token may live
  ansible.builtin.debug:
    msg: "The token of alice lives for at most {{ alice.remaining }} seconds."

- name: Keep the token out of the result, for a lookup to find
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    return_token: false
  delegate_to: localhost
  become: false

- name: Have a token that lives for at least half an hour, where the service's tokens live for eight hours
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

- name: Exchange the token now
  wuying.workspace.wuying_login_token:
    region_id: cn-hangzhou
    office_site_id: cn-hangzhou+dir-2381912345
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    force: true
    return_token: false
  delegate_to: localhost
  become: false

- name: Forget the session
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
  returned: when there is one and O(return_token=true); also when a token was exchanged but could not be kept
  type: str
  sample: v1c27bab6c205b2fdfac9****
obtained_at:
  description:
    - When the token was asked for, in UTC.
  returned: when there is a token
  type: str
  sample: "2026-01-31T08:00:00Z"
expires_at:
  description:
    - When the token dies at the latest, in UTC. It may be dead earlier, once the session has been exchanged again.
  returned: when there is a token
  type: str
  sample: "2026-01-31T08:15:00Z"
remaining:
  description:
    - For how many seconds the token may still live, at most.
  returned: when there is a token
  type: int
  sample: 893
source:
  description:
    - Whether the token came from an exchange (V(service)) or from the record (V(store)).
  returned: when there is a token
  type: str
  sample: store
session:
  description:
    - The identity of the session, as the record has it.
  returned: when there is a token
  type: dict
  sample:
    client_id: f4a0dc8e-1702-4728-9a60-95b27a350000
    end_user_id: alice
    endpoint: https://ecd.cn-hangzhou.aliyuncs.com
    office_site_id: cn-hangzhou+dir-2381912345
    region_id: cn-hangzhou
request_id:
  description:
    - The service's ID of the exchange that brought the token, or of the request that failed.
  returned: when the service gave one
  type: str
  sample: 1CBAFFAB-B697-4049-A9B1-67E1FC5F0000
kept:
  description:
    - V(false) where a token was exchanged but could not be kept. The task fails and RV(login_token) is the only copy.
  returned: when the token could not be kept
  type: bool
  sample: false
error_code:
  description:
    - The service's code of the error where it gave one, else one of this collection.
    - The user must log in again at V(OutcomeUnknown) (an exchange was cut short and its answer is lost), V(SessionEnded) (the service
      has refused the token before), and the first time that the service refuses the token, with a code of its own.
    - Others of this collection are V(NoLoginToken) (nothing is kept of the session), V(MissingCredentials), V(MissingLibrary),
      V(InvalidOption), V(InvalidResponse), V(DeadlineExceeded), V(Timeout), V(NameNotResolved), V(ConnectionFailed),
      V(ConnectionLost), V(TlsFailed), V(ProxyFailed), V(NotKept), V(NewerFormat), V(WrongStoreKey), V(StoreUnavailable), V(StoreUnsafe), and with
        Redis V(StoreAccessDenied), V(StoreReadOnly), V(StoreFull), V(LockLost) and V(NewerRecord).
  returned: failure
  type: str
  sample: Throttling.User
http_status:
  description:
    - The HTTP status of the service's answer.
  returned: failure, when there was an answer
  type: int
  sample: 429
retryable:
  description:
    - Whether the same task may succeed later without anything being changed.
  returned: failure
  type: bool
  sample: true
"""

import time

from ansible.module_utils.basic import env_fallback

from ansible_collections.wuying.workspace.plugins.module_utils._keeper.decision import (
    Outcome,
)
from ansible_collections.wuying.workspace.plugins.module_utils._model.exceptions import OptionError
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.argument_spec import (
    LOGIN_VARIABLE,
    argument_spec,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.module import Module
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.options import read_request
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.result import (
    compare,
    describe,
)
from ansible_collections.wuying.workspace.plugins.module_utils._plugin.wiring import open_keeper


def main() -> None:
    """Run the module."""
    module = Module(
        argument_spec={
            **argument_spec(),
            "login_token": {
                "type": "str",
                "no_log": True,
                "fallback": (env_fallback, [LOGIN_VARIABLE]),
            },
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "force": {"type": "bool", "default": False},
            "return_token": {"type": "bool", "default": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    module.execute(lambda: finish(module, run(module)))


def run(module: Module) -> Outcome:
    """Do what the task asks. Raises :class:`WuyingError`."""
    params = module.params
    if params["store"] == "none" and (params["state"] == "absent" or not params["return_token"]):
        raise OptionError("store=none keeps nothing: it needs state=present and return_token=true.")
    request = read_request(params.__getitem__)
    with open_keeper(params.__getitem__, module.warn) as keeper:
        key = request.session.key
        if params["state"] == "absent":
            return keeper.delete(key, check=module.check_mode)
        request = request._replace(force=params["force"])
        if module.check_mode:
            return keeper.predict(request, keeper.store.read(key), module.warn)
        return keeper.ensure(request, module.warn)


def finish(module: Module, outcome: Outcome) -> None:
    """Leave with the result of an outcome."""
    params = module.params
    return_token = params["return_token"] or outcome.not_saved is not None
    result = describe(outcome, time.time(), return_token=return_token)
    result["diff"] = compare(outcome, predicted=module.check_mode and params["state"] == "present")
    if "login_token" in result:
        module.uncensor([result["login_token"]])
    if outcome.not_saved is not None:
        failure = {**result, **outcome.not_saved.as_result(), "request_id": result["request_id"]}
        module.fail_json(msg=outcome.not_saved.message, kept=False, **failure)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
