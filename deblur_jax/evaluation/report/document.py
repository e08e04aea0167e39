"""The parts of a report, and their text in Markdown.

A report is a list of blocks, so that report.md and report.html have the same
content. In a text, `code` and **strong** words are marked as in Markdown.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deblur_jax.evaluation.report import render


class Heading(NamedTuple):
  """A heading of the second level.

  Attributes:
    text: its words.
  """

  text: str


class Text(NamedTuple):
  """A paragraph.

  Attributes:
    text: its words.
  """

  text: str


class Bullets(NamedTuple):
  """A list; it is left out if it is empty.

  Attributes:
    items: a line each.
  """

  items: Sequence[str]


class Table(NamedTuple):
  """A table; all columns but the first are aligned to the right.

  Attributes:
    head: headings.
    body: lines of cells, as many as headings.
    rule: whether a rule follows the first line of the body.
  """

  head: Sequence[str]
  body: Sequence[Sequence[str]]
  rule: bool = False


class Picture(NamedTuple):
  """A picture file.

  Attributes:
    path: relative to the folder of the report.
    text: what it shows.
  """

  path: str
  text: str


class Slider(NamedTuple):
  """The place of the slider that compares pictures, in HTML alone.

  Attributes:
    text: what it shows.
  """

  text: str


Block = Heading | Text | Bullets | Table | Picture | Slider


def to_markdown(blocks: Iterable[Block], *, title: str = '') -> str:
  """A document in Markdown.

  Args:
    blocks: its parts.
    title: of the document; '' for none.

  Returns:
    The text of the file.
  """
  parts = [f'# {title}' if title else '', *map(_markdown, blocks)]
  return '\n\n'.join(part for part in parts if part) + '\n'


def _markdown(block: Block) -> str:
  match block:
    case Heading(text):
      return f'## {text}'
    case Text(text):
      return text
    case Bullets(items):
      return '\n'.join(f'* {item}' for item in items)
    case Table(head, body):
      return render.table(head, body).rstrip()
    case Picture(path, text):
      return f'![{text}]({path})'
    case Slider():
      return ''
