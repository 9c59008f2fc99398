"""What a request says: who asks, and what it asks about. Reads both shapes that ungleich-otp's clients speak.

The caller is `name`, `realm`, `token` and the other one `verifyname`, `verifyrealm`, `verifytoken` (v0.6, 2018); or the
caller is `auth_name`, `auth_realm`, `auth_token` and the other one `name`, `realm`, `token` (2019).
"""

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from common.errors import UcloudError
from common.schemas.otp import OtpName
from ucloud_otp.verifier import Claim

Body = Mapping[str, object]
MOST_CHARACTERS = 128
_NAME = TypeAdapter(OtpName)


class FieldErrors(UcloudError):
    """Fields that are missing or wrong: of each, what is wrong with it, in the words of Django's REST framework."""

    def __init__(self, errors: dict[str, list[str]]) -> None:
        super().__init__(f"wrong fields: {', '.join(errors)}")
        self.errors = errors


def caller_of(body: Body) -> Claim | None:
    """Who asks; None when the body does not say so properly."""
    fields = ("auth_name", "auth_realm", "auth_token") if _is_new(body) else ("name", "realm", "token")
    try:
        return _claim(body, fields)
    except FieldErrors:
        return None


def subject_of(body: Body) -> Claim:
    """Whose token is to be verified; FieldErrors."""
    return _claim(body, ("name", "realm", "token") if _is_new(body) else ("verifyname", "verifyrealm", "verifytoken"))


def named_entry_of(body: Body) -> tuple[str, str]:
    """The name and the realm of an entry beside those of the caller, who must say so as of 2019; FieldErrors."""
    if not _is_new(body):
        raise FieldErrors({"auth_name": ["This field is required."]})
    return new_entry_of(body)


def new_entry_of(body: Body) -> tuple[str, str]:
    """The name and the realm that are to be made; FieldErrors."""
    name, realm = _texts(body, ("name", "realm"))
    errors = {}
    for field, value in (("name", name), ("realm", realm)):
        try:
            _NAME.validate_python(value)
        except ValidationError:
            errors[field] = ["Only letters, digits and @ . _ - are allowed, a letter, a digit or _ at either end."]
    if errors:
        raise FieldErrors(errors)
    return name, realm


def _is_new(body: Body) -> bool:
    return "auth_name" in body


def _claim(body: Body, fields: tuple[str, str, str]) -> Claim:
    return Claim(*_texts(body, fields))


def _texts(body: Body, fields: tuple[str, ...]) -> list[str]:
    errors = {field: [problem] for field in fields if (problem := _problem(body, field))}
    if errors:
        raise FieldErrors(errors)
    return [str(body[field]).strip() for field in fields]


def _problem(body: Body, field: str) -> str | None:
    if field not in body:
        return "This field is required."
    value = body[field]
    if value is None:
        return "This field may not be null."
    if isinstance(value, bool) or not isinstance(value, str | int):
        return "Not a valid string."
    # An integer of thousands of digits is no text that anybody wants to see, and Python refuses to make it one.
    text = value.strip() if isinstance(value, str) else str(value) if abs(value) < 10**MOST_CHARACTERS else "9" * 129
    if not text:
        return "This field may not be blank."
    return f"Ensure this field has no more than {MOST_CHARACTERS} characters." if len(text) > MOST_CHARACTERS else None
