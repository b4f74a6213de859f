"""Statistics are made of the same small world as the protected layer; its fixtures serve both."""

from tests.protected.conftest import entities, lakehouse

__all__ = ["entities", "lakehouse"]
