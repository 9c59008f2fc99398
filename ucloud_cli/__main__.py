"""Run the command line client."""

from ucloud_cli.app import cli


def main() -> None:
    """Do what the arguments say; never returns."""
    cli(prog_name="ucloud")


if __name__ == "__main__":
    main()
