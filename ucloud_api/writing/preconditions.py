"""If-Match: a change that is to be made only of what its client has seen. Source: RFC 9110, 13.1.1."""

from flask import request

from ucloud_api.problems import ApiProblem


def check_if_match(revision: int) -> None:
    """ApiProblem (412) when the request is about a resource as it was at another revision than this."""
    if "If-Match" in request.headers and not request.if_match.contains(str(revision)):
        raise ApiProblem(412, "changed-meanwhile", "it was changed since it was read; read it again")
