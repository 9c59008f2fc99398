"""How guests are executed: by KVM where the processor really offers it, else by QEMU's translator (TCG)."""

import logging
from enum import Enum
from pathlib import Path

_log = logging.getLogger(__name__)
_DEVICE = "dev/kvm"
_MODULES = ("sys/module/kvm_intel", "sys/module/kvm_amd")


class Accelerator(Enum):
    """How guests are executed."""

    KVM = "kvm"
    TCG = "tcg"


def choose(setting: str, root: Path = Path("/")) -> Accelerator:
    """The accelerator that `setting` (auto, kvm, tcg) means on the machine whose files are at `root`.

    /dev/kvm alone says nothing: paravirtual KVMs offer it and boot no ordinary guest. So auto wants the module of a
    processor's own virtualization as well.
    """
    if setting != "auto":
        _log.info("guests run on %s: so the settings say", setting)
        return Accelerator(setting)
    modules = [name for name in _MODULES if (root / name).exists()]
    if not (root / _DEVICE).exists():
        choice, reason = Accelerator.TCG, "there is no /dev/kvm"
    elif not modules:
        choice, reason = Accelerator.TCG, "/dev/kvm exists, but neither kvm_intel nor kvm_amd stands behind it"
    else:
        choice, reason = Accelerator.KVM, f"/dev/kvm and /{modules[0]} exist"
    _log.info("guests run on %s: %s", choice.value, reason)
    return choice
