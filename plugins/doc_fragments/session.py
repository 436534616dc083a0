# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Which session, and when its token counts as current."""

    DOCUMENTATION = r"""
options:
  region_id:
    description:
      - The region of the session's office network, such as V(cn-hangzhou).
      - It becomes part of a host name, so it may consist of lower-case letters, digits and hyphens only.
    type: str
    required: true
  client_id:
    description:
      - The identifier that is unique to the client, such as the UUID that the WUYING client shows.
    type: str
    required: true
  office_site_id:
    description:
      - The office network of the session, such as V(cn-hangzhou+dir-238191****).
    type: str
    required: true
  directory_id:
    description:
      - The directory of the session, where the service gave one. The service's documentation calls it not available to
        the public.
    type: str
  session_id:
    description:
      - The identifier of the session, where the service gave one.
    type: str
  endpoint:
    description:
      - The URL of the service, with a scheme and a host and nothing else but a port.
      - Needed for addresses inside a VPC, whose names follow no rule, and for the emulator of the role
        P(wuying.workspace.emulator#role).
      - Plain C(http) is for loopback addresses only. A login token belongs to the endpoint that issued it and is never
        sent to another.
      - Without it C(https://ecd.REGION_ID.aliyuncs.com) is used, with O(region_id) in place.
    type: str
  validity:
    description:
      - How many seconds (1 to 31622400) a login token lives from the moment it is obtained. The service's answer does not say. Where
        this is too large, a dead token is served as current; where it is too small, tokens are exchanged more often than needed.
      - The service's documentation gives 15 minutes, a newer one 8 hours (V(28800)).
      - It becomes part of the record; a later run with another value does not change that.
    type: int
    default: 900
  refresh_before:
    description:
      - A token that has at most this many seconds left to live is stale, and is exchanged the next time that somebody asks.
      - It counts as at most half of the token's lifetime. Choose it longer than the work that uses the token takes. At most 31622400.
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
  session_id:
    vars:
      - name: wuying_session_id
    ini:
      - section: wuying_login_token_lookup
        key: session_id
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
