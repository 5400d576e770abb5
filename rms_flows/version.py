"""Which version this is: without a look at what is installed, which takes time and memory."""

__version__ = "0.1.0"
