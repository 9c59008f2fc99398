"""Distinguished names of LDAP, as they are compared. Source: RFC 4514."""

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.dn import parse_dn

Parts = tuple[tuple[str, str], ...]


def parts(dn: str) -> Parts | None:
    """The attributes and values of a DN, in lower case. None where it is no DN."""
    try:
        return tuple((attribute.lower(), value.lower()) for attribute, value, _ in parse_dn(dn, strip=True))
    except LDAPInvalidDnError:
        return None
