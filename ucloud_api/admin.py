"""ucloud-admin: what is done to etcd directly, before there is anybody who could use the API.

It makes the account of the first admin (who makes all others through the API), and etcd's users and roles.
"""

import os
import sys
from datetime import UTC, datetime

import click
from pydantic import ValidationError

from common import keys, settings
from common.errors import Conflict, UcloudError
from common.schemas.record import describe
from common.schemas.user import Account
from common.store import EtcdOptions, Put, Store, absent
from ucloud_api.etcd_roles import etcd_roles


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Accounts of admins, and the rights of daemons in etcd. Reads the settings of the daemons (UCLOUD_CONFIG)."""


main.add_command(etcd_roles)


@main.command()
@click.argument("name")
@click.option("--realm", default="ucloud", show_default=True, help="The realm of NAME's one-time tokens.")
def create(name: str, realm: str) -> None:
    """Make NAME an admin without a quota, whose one-time tokens are those of NAME in the realm."""
    try:
        account = Account(name=name, realm=realm, is_admin=True, created_at=datetime.now(UTC))
        store = Store(EtcdOptions.from_settings(settings.load(os.environ).etcd))
        try:
            store.commit([absent(keys.account(name))], [Put(keys.account(name), account.to_json())])
        finally:
            store.close()
    except ValidationError as error:
        raise click.ClickException(describe(error)) from error
    except Conflict as conflict:
        raise click.ClickException(f'there is an account "{name}" already') from conflict
    except UcloudError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
