"""The version, for the package's metadata and the keys of the disk cache."""

VERSION = "0.1.0"
