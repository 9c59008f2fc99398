"""Whatever a policy holds, the kernel takes it, and what it lists is what was meant."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from common.errors import TemporaryError
from tests.integration.ucloud_firewall.namespace import Namespace
from tests.unit.ucloud_firewall.policies import by_hand, policies
from ucloud_firewall import nft_listing
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft import Content, NftRenderer, content_of, delta
from ucloud_firewall.rights import Batch, Policy
from ucloud_firewall.wall import Wall

NFT = NftRenderer()


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Namespace() as namespace:
        yield namespace.do(Kernel)


def _names(content: Content) -> Content:
    """Of the chains, the names alone; no empty sets."""
    elements = {name: dict(keys) for name, keys in content.elements.items() if keys}
    return Content(elements, dict.fromkeys(content.chains, ""), content.sets)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies, policies)
def test_what_is_listed_is_what_was_loaded_and_changed(kernel: Kernel, before: Policy, after: Policy) -> None:
    kernel.load(NFT.load(before))
    assert _names(nft_listing.content_of(kernel.listing())) == _names(content_of(before))
    kernel.load(NFT.change(before, after))
    found = nft_listing.content_of(kernel.listing())
    assert _names(found) == _names(content_of(after))
    assert delta(found, content_of(after)) == ""


def test_a_batch_is_loaded_as_a_whole_or_not_at_all(kernel: Kernel) -> None:
    kernel.load(NFT.load(by_hand()))
    before = kernel.listing()
    with pytest.raises(TemporaryError, match=r"refuses: .*No such file"):
        kernel.load([Batch("", 'add element bridge ucloud speaks4 { "tapx" }\nadd element bridge ucloud none { 1 }\n')])
    assert kernel.listing() == before


def test_the_seal_tells_rules_that_were_changed_from_elements_that_were(kernel: Kernel) -> None:
    kernel.load(NFT.load(by_hand()))
    assert not nft_listing.is_complete(kernel.listing())
    kernel.seal()
    assert nft_listing.is_complete(kernel.listing())
    kernel.load([Batch("", 'add element bridge ucloud speaks4 { "tapx" }\n')])
    assert nft_listing.is_complete(kernel.listing())
    kernel.load([Batch("", "insert rule bridge ucloud from_ip6 accept\n")])
    assert not nft_listing.is_complete(kernel.listing())


def test_a_wall_that_could_not_be_changed_is_looked_at_again(kernel: Kernel) -> None:
    wall = Wall(kernel, NFT, lambda _: None)
    kernel.load(NFT.load(Policy()))
    kernel.seal()
    wall.close()
    wall.enforce(by_hand(), lambda _: False)
    kernel.load([Batch("", 'delete element bridge ucloud speaks4 { "tap0a00000002" }\n')])
    with pytest.raises(TemporaryError):
        wall.enforce(Policy(), lambda _: False)
    wall.enforce(Policy(), lambda _: False)
    assert _names(nft_listing.content_of(kernel.listing())) == _names(content_of(Policy()))
