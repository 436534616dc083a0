# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a play for hosts that try to configure the lookup and the modules, and check that no listener receives anything."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from recorder import Recorder

HERE = Path(__file__).parent
LOOKUP = "wuying.workspace.wuying_login_token"
SECRETS = {
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "sesame-id",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "sesame-secret",
    "ALIBABA_CLOUD_SECURITY_TOKEN": "sesame-sts",
    "WUYING_TOKEN_STORE_PASSWORD": "sesame-password",
}
"""Variables of the environment that must not reach a listener."""


def run(*command: str, **variables: str) -> tuple[int, str]:
    """Run a command with secrets in its environment. Return its exit code and output."""
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", **variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout.decode()


def inventory(address: str) -> dict[str, object]:
    """Return hosts that each return one hostile fact, one for each option of the lookup, and hosts with weak variables."""
    code, output = run("ansible-doc", "--json", "--type", "lookup", LOOKUP)
    if code:
        sys.exit(output)
    hostile = {
        "endpoint": f"http://{address}",
        "proxy": f"http://{address}",
        "store": f"redis://{address}",
        "validate_certs": False,
        "ca_path": "/tmp",
        "store_key": ["hostile"],
    }
    options = set(json.loads(output[output.index("{") :])[LOOKUP]["doc"]["options"]) - {"_terms"}
    facts = {f"wuying_{option}": hostile.get(option, "hostile") for option in sorted(options)}
    weak = {
        "weak_certs": {
            "wuying_validate_certs": False,
            "wuying_proxy": f"http://{address}",
            "wuying_endpoint": None,
            "says": "wuying_validate_certs can disable the verification of certificates for loopback endpoints only",
        },
        "weak_store": {
            "wuying_store": "redis://redis.invalid",
            "wuying_store_password": "sesame-own",
            "says": "wuying_store names a Redis server without TLS",
        },
    }
    hosts = {f"fact_{name}": {"fact": name, "value": value} for name, value in {**facts, "omit": "hostile"}.items()}
    return {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "token": "v1sesame-token",
                "wuying_region_id": "cn-hangzhou",
                "wuying_client_id": "client-1",
                "wuying_office_site_id": "office-1",
                "wuying_endpoint": f"http://{address}",
            },
            "hosts": {"localhost": {}},
            "children": {"hostile": {"hosts": hosts}, "weak": {"hosts": weak}},
        }
    }


def received(recorder: Recorder, expected: str, *module: str) -> bool:
    """Return True if a listener receives what a module is told to send."""
    run("ansible", "localhost", "--module-name", *module, **SECRETS)
    return any(expected.encode() in connection for connection in recorder.connections)


def main() -> None:
    """Run the play, and check what was received."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps(inventory(recorder.address)))
        variables = {
            "XDG_STATE_HOME": folder,
            "ANSIBLE_LIBRARY": str(HERE.parent / "library"),
            "ANSIBLE_FORKS": "5",
            "ANSIBLE_PIPELINING": "1",
        }
        play = ("ansible-playbook", "--inventory", str(hosts), str(HERE / "play.yml"))
        code, output = run(*play, **SECRETS, **variables)
        print(output)
        if recorder.connections:
            sys.exit(f"A listener received {recorder.connections}.")
        if code:
            sys.exit("A play failed.")
        if "sesame" in output:
            sys.exit("The output contains a secret.")
        # The listener would have recorded secrets.
        session = (
            "region_id=cn-hangzhou client_id=c office_site_id=o end_user_id=u store=none login_token=v1control-token"
        )
        one = (LOOKUP, "--args", f"{session} endpoint=http://{recorder.address}")
        info = (
            f"{LOOKUP}_info",
            "--args",
            f"store=redis://{recorder.address} store_password=control-password deadline=2",
        )
        if not received(recorder, "v1control-token", *one):
            sys.exit("The listener records no token.")
        if importlib.util.find_spec("redis") and not received(recorder, "control-password", *info):
            sys.exit("The listener records no password.")


if __name__ == "__main__":
    main()
