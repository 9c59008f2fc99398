"""The serial log of a VM, fetched from its host with the token that the host put into the VM's status."""

import requests

from common.schemas.vm import Console
from ucloud_api.problems import ApiProblem

_TIMEOUT_S = (2.0, 10.0)


def read_serial_log(console: Console, host: str, tail_bytes: int) -> bytes:
    """The last `tail_bytes` of the log; ApiProblem (502) when the host does not give it.

    The token goes into no message, and neither does the text of an error, which may hold the URL.
    """
    try:
        with requests.Session() as session:
            session.trust_env = False  # a host is asked directly: no proxy, and no .netrc in place of the token
            reply = session.get(
                console.url,
                params={"tail_bytes": tail_bytes},
                headers={"Authorization": f"Bearer {console.token}"},
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
    except requests.RequestException as error:
        problem = f"host {host} does not answer for the log: {type(error).__name__}"
        raise ApiProblem(502, "host-does-not-answer", problem) from error
    if reply.status_code == requests.codes.not_found:
        return b""  # the guest has written nothing yet
    if reply.status_code != requests.codes.ok:
        problem = f"host {host} refused to show the log: {reply.status_code} {reply.reason}"
        raise ApiProblem(502, "host-does-not-answer", problem)
    return reply.content[-tail_bytes:]
