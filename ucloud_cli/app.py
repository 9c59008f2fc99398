"""The root command: `ucloud NOUN VERB`, and the older flat form `ucloud NOUN-VERB`."""

from importlib.metadata import version

import click

from ucloud_cli.commands.completion import completion
from ucloud_cli.commands.context import context
from ucloud_cli.commands.doctor import doctor
from ucloud_cli.commands.file import file
from ucloud_cli.commands.host import host
from ucloud_cli.commands.image import image
from ucloud_cli.commands.image_store import image_store
from ucloud_cli.commands.login import login, logout, whoami
from ucloud_cli.commands.moves import rebalance
from ucloud_cli.commands.network import network
from ucloud_cli.commands.project import project
from ucloud_cli.commands.security_group import security_group
from ucloud_cli.commands.session import session
from ucloud_cli.commands.user import user
from ucloud_cli.commands.vm import vm
from ucloud_cli.contexts import DEFAULT_FILE
from ucloud_cli.errors import EXIT_STATUSES
from ucloud_cli.groups import Root
from ucloud_cli.options import DEFAULT_URL, root_options

_EPILOG = f"""\b
Environment:
  UCLOUD_CONTEXT       the login to use, as --context
  UCLOUD_PROJECT       whose things are meant, as --project
  UCLOUD_URL           where the API is, as --url; {DEFAULT_URL} before the first login
  UCLOUD_TOKEN         a session's token, instead of a login
  UCLOUD_OUTPUT        how to print, as -o
  UCLOUD_CONTEXT_FILE  where logins are kept; {DEFAULT_FILE}

{EXIT_STATUSES}

Flat and short names work too: ucloud vm-create, ucloud image-list, ucloud vm ls, ucloud vm rm.
"""


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_EPILOG)
@click.version_option(version("ucloud"), prog_name="ucloud")
@root_options
def cli() -> None:
    """ucloud: virtual machines, their images, networks and hosts."""


_THINGS = (vm, image, image_store, file, network, security_group, host, user, project, session)
for command in (login, logout, whoami, context, *_THINGS, rebalance, doctor, completion):
    cli.add_command(command)
