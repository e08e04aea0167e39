"""Printing that never ends a command.

What an encoding lacks is shown as an escape, and after a reader has closed its
pipe the rest is dropped. This file loads fast: every command imports it.
"""

import codecs
import errno
import io
import os
import sys
import unicodedata


class Output:
  """A text stream that drops what cannot be written.

  Attributes:
    lost: the error that is no closed pipe, such as a full disk; None if all was
      written.
  """

  def __init__(self, stream: io.TextIOWrapper):
    self._stream = stream
    self.lost = None
    # Bytes of names that are no text are printed as they are.
    stream.reconfigure(errors=_ESCAPE)

  def __getattr__(self, name):
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    """Writes a text; returns its length."""
    return self._try(self._stream.write, text) or len(text)

  def flush(self) -> None:
    """Writes what is buffered."""
    self._try(self._stream.flush)

  def _try(self, fn, *args):
    try:
      return fn(*args)
    except OSError as error:
      if error.errno not in (errno.EPIPE, errno.EINVAL):   # Windows' own
        self.lost = error
      # The stream still holds what it could not write, and tries again.
      with open(os.devnull, 'wb') as nothing:
        os.dup2(nothing.fileno(), self._stream.fileno())
      self._stream.flush()
      return None


def take() -> None:
  """Replaces stdout and stderr by streams that drop what they cannot write."""
  for name in ('stdout', 'stderr'):
    stream = getattr(sys, name)
    if isinstance(stream, io.TextIOWrapper):
      setattr(sys, name, Output(stream))


def lost() -> OSError | None:
  """Returns why a part of stdout could not be written; None if all was.

  A reader that closed its pipe wanted no more.
  """
  if not isinstance(sys.stdout, Output):
    return None
  sys.stdout.flush()
  return sys.stdout.lost


def shown(text: str) -> str:
  r"""A text with its control characters as escapes, such as '\x1b'.

  Among them are those that end a line or turn the direction of writing.
  """
  return ''.join(
      letter.encode('unicode_escape').decode()
      if unicodedata.category(letter) in ('Cc', 'Zl', 'Zp')
      or unicodedata.bidirectional(letter) in _TURNS else letter
      for letter in text)


def _escape(error):
  """The bytes of a name that are no text, or else an escape."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  try:
    return codecs.lookup_error('surrogateescape')(error)
  except UnicodeEncodeError:
    return codecs.lookup_error('backslashreplace')(error)


_TURNS = ('LRE', 'RLE', 'LRO', 'RLO', 'PDF', 'LRI', 'RLI', 'FSI', 'PDI')
_ESCAPE = 'deblur_jax_escape'
codecs.register_error(_ESCAPE, _escape)
