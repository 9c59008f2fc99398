"""Properties are tested without a deadline for each example: how long one takes says more of the machine than of us."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
