# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accept secrets and do not use them. Output that contains them comes from ansible-core."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    """Run the module."""
    secret = {"type": "str", "no_log": True}
    names = (
        "login_token",
        "access_key_secret",
        "security_token",
        "store_password",
        "store_key",
        "password",
        "totp_secret",
    )
    module = AnsibleModule(dict.fromkeys(names, secret), supports_check_mode=True)
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
