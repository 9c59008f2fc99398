"""What can go wrong with a cloud on one machine, in words for the person at the keyboard."""


class DevcloudError(Exception):
    """The cloud can't be started, found or ended; the text says what to do."""


class DeadlineExceeded(DevcloudError):
    """Something did not happen in time."""
