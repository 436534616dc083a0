# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that identify a session and decide when its token is stale."""

    DOCUMENTATION = r"""
options:
  region_id:
    description:
      - The region of the session's office network, for example V(cn-hangzhou).
      - It is part of the host name of the default O(endpoint), so it can contain only lowercase letters, digits, and hyphens. Unless O(endpoint) is
        set, it must have two letters before its first hyphen.
    type: str
    required: true
  client_id:
    description:
      - The unique identifier of the client, for example the UUID that the WUYING client displays.
    type: str
    required: true
  office_site_id:
    description:
      - The ID of the session's office network, for example V(cn-hangzhou+dir-238191****).
    type: str
    required: true
  directory_id:
    description:
      - The ID of the session's directory, if the service provided one. The service's documentation calls this parameter not publicly
        available.
      - It is part of the session's identity. Pass it in every task for the session, or in none.
      - If not set, it is not sent.
    type: str
  endpoint:
    description:
      - The URL of the service. It consists of a scheme, a host, and optionally a port.
      - Set it to use an endpoint inside a VPC, because the names of these endpoints follow no rule, or to use the emulator from the role
        P(wuying.workspace.emulator#role).
      - Plain C(http) is allowed for loopback addresses only.
      - A stored login token or keep-alive token is sent only to the endpoint that issued it. A token or password that you pass is sent to the
        endpoint that you set.
      - If not set, C(https://ecd.REGION_ID.aliyuncs.com) is used, where C(REGION_ID) is the value of O(region_id).
    type: str
  validity:
    description:
      - The number of seconds (1 to 31622400) for which a new login token is valid. The service does not return this value.
      - If it is too large, an expired token is treated as current. If it is too small, tokens are refreshed more often than necessary.
      - The service's documentation says 15 minutes. A newer version of it says 8 hours (V(28800)).
      - The validity is stored with each token. A new value applies from the next refresh.
      - If not set, the session keeps its stored validity. A new session gets 900 seconds.
    type: int
  refresh_before:
    description:
      - The number of seconds (0 to 31622400) before its expiry at which a login token becomes stale. The next task or lookup that needs a
        stale token refreshes it.
      - The value is capped at half of the token's validity. If a value of more than 300 exceeds that half, a warning shows both numbers.
      - Choose a value that is longer than the work that uses the token.
    type: int
    default: 300
"""

    MANY = r"""
options:
  region_id:
    required: false
  client_id:
    required: false
  office_site_id:
    required: false
"""

    NO_EFFECT = r"""
options:
  region_id:
    description:
      - This option has no effect in this module.
    required: false
  client_id:
    description:
      - This option has no effect in this module.
    required: false
  office_site_id:
    description:
      - This option has no effect in this module.
    required: false
  directory_id:
    description:
      - This option has no effect in this module.
  endpoint:
    description:
      - This option has no effect in this module.
  validity:
    description:
      - This option has no effect in this module.
"""

    LOOKUP = r"""
options:
  region_id:
    required: false
    vars:
      - name: wuying_region_id
    ini:
      - section: wuying_login_token_lookup
        key: region_id
  client_id:
    required: false
    vars:
      - name: wuying_client_id
    ini:
      - section: wuying_login_token_lookup
        key: client_id
  office_site_id:
    required: false
    vars:
      - name: wuying_office_site_id
    ini:
      - section: wuying_login_token_lookup
        key: office_site_id
  directory_id:
    vars:
      - name: wuying_directory_id
    ini:
      - section: wuying_login_token_lookup
        key: directory_id
  endpoint:
    vars:
      - name: wuying_endpoint
    ini:
      - section: wuying_login_token_lookup
        key: endpoint
  validity:
    vars:
      - name: wuying_validity
    ini:
      - section: wuying_login_token_lookup
        key: validity
  refresh_before:
    vars:
      - name: wuying_refresh_before
    ini:
      - section: wuying_login_token_lookup
        key: refresh_before
"""
