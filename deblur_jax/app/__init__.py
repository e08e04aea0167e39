"""The applications: the command `deblur`, a web page, and a Python function."""
