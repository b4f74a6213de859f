"""What holds for all tests: how hypothesis looks for counterexamples."""

from hypothesis import settings

# A loaded machine must not fail a test, and `make test` must tell the same twice.
# To look for new counterexamples: pytest --hypothesis-profile=explore
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("same")
