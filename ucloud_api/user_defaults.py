"""What a new user may use."""

from common.schemas.user import Quota

_GIB = 1024
DEFAULT_QUOTA = Quota(vms=10, cpu=20, ram_mib=64 * _GIB, ssd_mib=500 * _GIB, hdd_mib=2000 * _GIB)
