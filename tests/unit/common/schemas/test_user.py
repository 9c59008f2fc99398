"""Accounts, as older releases wrote them, too."""

from common.schemas.user import Account, Amounts, Quota

OLD = b"""{"version":1,"name":"ann","realm":"ucloud","is_admin":false,"enabled":true,"generation":3,
"quota":{"vms":1,"cpu":2,"ram_mib":3,"ssd_mib":4,"hdd_mib":5},"created_at":"2026-01-01T00:00:00Z"}"""


def test_a_quota_of_before_something_was_limited_has_the_limit_by_default() -> None:
    quota = Account.read("/v1/account/ann", OLD).quota
    assert quota == Quota(vms=1, cpu=2, ram_mib=3, ssd_mib=4, hdd_mib=5)
    assert (quota.networks, quota.security_groups) == (10, 50)
    assert Account.read("/v1/account/ann", OLD.replace(b'"hdd_mib":5', b'"networks":0')).quota == Quota(
        vms=1, cpu=2, ram_mib=3, ssd_mib=4, networks=0
    )


def test_charges_add_up_field_by_field() -> None:
    assert Amounts(vms=1, networks=2) + Amounts(networks=1, security_groups=4) == Amounts(
        vms=1, networks=3, security_groups=4
    )
