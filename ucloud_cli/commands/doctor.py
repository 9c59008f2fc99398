"""The command `doctor`: what is wrong with the cloud, and mending what is safe to mend; for admins."""

import sys

import click

from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, note, print_list, yes

_COLUMNS: Columns = {
    "SEVERITY": Column(lambda finding: finding["severity"]),
    "CODE": Column(lambda finding: finding["code"]),
    "WHAT": Column(lambda finding: finding["sentence"]),
    "DO": Column(lambda finding: "(mended)" if finding["mended"] else _advice(finding)),
    "THING": Column(lambda finding: finding["thing"], wide=True),
    "FIX": Column(lambda finding: yes(finding["can_be_mended"]), wide=True),
}


def _advice(finding: dict[str, object]) -> str:
    return "ucloud doctor --fix" if finding["can_be_mended"] else str(finding["advice"])


@click.command()
@click.option("--fix", is_flag=True, help="Mend what is safe to mend: never a guest, a disk or a placement.")
@click.option("--code", "codes", multiple=True, metavar="CODE", help="With --fix: only findings of this code.")
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def doctor(session: Session, fix: bool, codes: tuple[str, ...]) -> None:
    """Look for what is wrong with the cloud; for admins.

    Changes nothing without --fix. Exit status 1: something does not work.
    """
    session.layout.check(_COLUMNS)
    if codes and not fix:
        raise click.UsageError("--code says what --fix is to mend")
    diagnosis = session.client.post("/v1/doctor", {"codes": codes}) if fix else session.client.get("/v1/doctor")
    findings = diagnosis["items"]
    print_list(findings, _COLUMNS, session.layout)
    if not findings and not session.layout.is_data:
        note("nothing is wrong")
    if any(each["severity"] == "ERROR" and not each["mended"] for each in findings):
        sys.exit(1)
