"""The choice of an accelerator, on machines that are folders."""

from pathlib import Path

import pytest

from ucloud_vm.libvirt.accelerator import Accelerator, choose


@pytest.mark.parametrize(
    ("setting", "files", "choice"),
    [
        ("auto", [], Accelerator.TCG),
        ("auto", ["dev/kvm"], Accelerator.TCG),  # a paravirtual KVM, on which no ordinary guest boots
        ("auto", ["dev/kvm", "sys/module/kvm"], Accelerator.TCG),
        ("auto", ["sys/module/kvm_intel"], Accelerator.TCG),
        ("auto", ["dev/kvm", "sys/module/kvm_intel"], Accelerator.KVM),
        ("auto", ["dev/kvm", "sys/module/kvm_amd"], Accelerator.KVM),
        ("kvm", [], Accelerator.KVM),
        ("tcg", ["dev/kvm", "sys/module/kvm_amd"], Accelerator.TCG),
    ],
)
def test_kvm_needs_the_processors_own_virtualization(
    tmp_path: Path, setting: str, files: list[str], choice: Accelerator
) -> None:
    for file in files:
        (tmp_path / file).mkdir(parents=True)
    assert choose(setting, tmp_path) is choice
