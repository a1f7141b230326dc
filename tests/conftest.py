"""What every test shares: how long Hypothesis searches, and that a failure can be repeated."""

from hypothesis import settings

# No deadline, because a busy machine is slow, not wrong. The blob repeats a failure found elsewhere.
settings.register_profile("quick", max_examples=100, deadline=None, print_blob=True)
settings.register_profile("soak", max_examples=5_000, deadline=None, print_blob=True)
settings.load_profile("quick")
