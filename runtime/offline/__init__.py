"""The embedded offline model: deterministic and extractive, a stand-in that runs everything without a key."""

from runtime.offline.model import Offline

__all__ = ["Offline"]
