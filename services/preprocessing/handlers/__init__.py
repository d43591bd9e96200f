"""Use cases of the preparation: a whole study (`prepare`), and one more series of a session (`theatre`)."""

from services.preprocessing.handlers.ports import Tools
from services.preprocessing.handlers.prepare import PrepareHandler

__all__ = ["PrepareHandler", "Tools"]
