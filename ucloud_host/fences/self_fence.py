"""`self`: the host's own guard has ended its HA VMs. Counts on what the host said, and on time; asks nobody."""

from common.deadlines import self_fence_wait_s
from ucloud_host.fences import Answer, Silence, Word


class SelfFence:
    """Yes once the guard of a host that said it was guarded must have done its work."""

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        if silence.guarded_s is None:
            return Answer(Word.UNKNOWN, "no guard watched over its VMs when it was last heard of")
        left_s = self_fence_wait_s(silence.guarded_s) - silence.seen_s
        if left_s > 0:
            return Answer(Word.NO, "its guard's time has not passed yet", again_in_s=left_s)
        return Answer(Word.YES, "its guard's time has passed")
