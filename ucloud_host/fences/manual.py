"""`manual`: an admin has looked, and says that the host is off. Asks nobody."""

from ucloud_host.fences import Answer, Silence, Word


class ManualFence:
    """Yes once an admin has confirmed it for this silence of the host."""

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        if silence.confirmed is None:
            return Answer(Word.NO, f"nobody has confirmed that it is off: ucloud host confirm-dead {silence.host}")
        return Answer(Word.YES, f"{silence.confirmed.by} has confirmed it")
