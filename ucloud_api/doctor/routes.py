"""The routes of the doctor, for admins: what is wrong, and what of it is to be mended."""

import logging
from collections.abc import Iterable

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.errors import Conflict
from ucloud_api import models
from ucloud_api.access.auth import require_admin
from ucloud_api.doctor.examination import look
from ucloud_api.doctor.finding import Finding, Severity
from ucloud_api.problems import documented
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer

_log = logging.getLogger(__name__)
_ORDER = list(Severity)
_SECOND_LOOK_S = 1.0

blueprint = APIBlueprint(
    "doctor",
    __name__,
    url_prefix=f"{keys.ROOT}doctor",
    abp_tags=[Tag(name="doctor", description="What is wrong with the cloud")],
    abp_responses=documented(401, 403, 409, 422, 429, 500, 503),
)


@blueprint.get("", summary="Examine the cloud", responses={200: models.Diagnosis})
def examine() -> Response:
    """Look through all records, ask the hosts and the members of etcd, and say what is wrong. Nothing is changed."""
    require_admin()
    return answer(_diagnosis(diagnose(current_state())))


@blueprint.post("", summary="Mend what is safe to mend", responses={200: models.Diagnosis, **documented(400, 413, 415)})
def mend(body: models.Mend) -> Response:
    """Mend the findings of these codes (none: all) that can be mended safely; the answer is what was found, and done.

    What changed since it was found is left as it is.
    """
    require_admin()
    state = current_state()
    findings = diagnose(state)
    wanted = [each for each in findings if each.fix and (not body.codes or each.code in body.codes)]
    return answer(_diagnosis(findings, [each for each in wanted if _mend(state, each)]))


def diagnose(state: State) -> list[Finding]:
    """What is wrong, the worst first.

    What is on its way looks wrong for a moment, so what is found is looked for again a little later.
    """
    first = look(state.store)
    if not first:
        return []
    state.pause(_SECOND_LOOK_S)
    seen = {(each.code, each.thing) for each in first}
    found = [each for each in look(state.store) if (each.code, each.thing) in seen]
    return sorted(found, key=lambda each: (_ORDER.index(each.severity), each.code, each.thing))


def _mend(state: State, finding: Finding) -> bool:
    """Whether it could be mended."""
    if finding.fix is None:
        return False
    try:
        commit(state, finding.fix)
    except Conflict as conflict:
        _log.info("%s is not mended: %s", finding.thing, conflict)
        return False
    _log.warning("%s is mended: %s", finding.thing, finding.sentence)
    return True


def _diagnosis(findings: Iterable[Finding], mended: Iterable[Finding] = ()) -> models.Diagnosis:
    done = {(each.code, each.thing) for each in mended}
    return models.Diagnosis(
        items=tuple(
            models.FindingOut(
                code=each.code,
                severity=each.severity.value,
                thing=each.thing,
                sentence=each.sentence,
                advice=each.advice,
                can_be_mended=each.fix is not None,
                mended=(each.code, each.thing) in done,
            )
            for each in findings
        )
    )
