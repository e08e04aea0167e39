"""Griffe extension: indented lines of a docstring become code blocks.

The docstrings set equations, commands and tables by an indent of two spaces,
which Markdown would fill into a paragraph.
"""

import re
from typing import Any

import griffe

# Lines with an indent, after an empty line or at the beginning.
_INDENTED = re.compile(
    r'(?:\A|(?<=\n\n))((?: {2,}\S.*(?:\n|\Z)|\n(?= {2}))+)')


def with_blocks(text: str) -> str:
  """Returns a docstring with a fence around each indented block."""
  return _INDENTED.sub(
      lambda found: f'```text\n{found[0].rstrip()}\n```\n', text)


class Equations(griffe.Extension):
  """Applies `with_blocks` to each docstring."""

  def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
    """Changes the docstring of an object that griffe has read."""
    del kwargs
    if obj.docstring:
      obj.docstring.value = with_blocks(obj.docstring.value)
