# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Attributes that the modules share, such as check mode."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying the target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
      - This assumes that the system controlled or queried by the module has not changed in a relevant way.
  action_group:
    description: Use C(group/wuying.workspace.wuying) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - wuying.workspace.wuying
notes:
  - A null value, an omitted value, and an empty string mean that an option is not set. The only exception is O(store_key), which must not be empty.
  - With C(async), Ansible saves the result of a task to a file that other users can read, so use it only with C(return_token=false). On
    ansible-core 2.22 and later, the modules of this collection refuse C(async), because the file would also contain the secrets of the task.
  - With C(ANSIBLE_DEBUG), Ansible prints the options and the result of each task, including secrets. Do not use it with real sessions.
  - The C(environment) keyword of a task sets environment variables for modules, but not for lookups.
"""
