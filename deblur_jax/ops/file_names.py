"""Names of files that a system does not take as they are."""

import os
import pathlib

IS_WINDOWS = os.name == 'nt'
# On Windows a file with such a name, whatever its suffix, is a device.
_DEVICES = {'con', 'prn', 'aux', 'nul', 'conin$', 'conout$', *(
    f'{port}{number}' for port in ('com', 'lpt')
    for number in (*range(1, 10), '¹', '²', '³'))}
_SIGNS = set('<>:"|?*') | set(map(chr, range(32)))


def problem(path: pathlib.PurePath) -> str | None:
  """Says why a path cannot be written on this system as it is.

  Windows writes NUL.png to a device, a:b.png into a hidden stream of the file
  a, and leaves out the dots and spaces at the end of a name.

  Args:
    path: of a file or a folder.

  Returns:
    A line without a full stop; None where nothing is wrong.
  """
  if not IS_WINDOWS:
    return None
  parts = path.parts[1:] if path.anchor else path.parts
  return next((f'{path} cannot be written: {reason}' for reason in map(
      why_reserved, parts) if reason), None)


def why_reserved(name: str) -> str | None:
  """Says why Windows does not take a name of a file as it is.

  Args:
    name: without folders.

  Returns:
    A clause; None where nothing is wrong.
  """
  if name in ('.', '..'):
    return None
  if name.partition('.')[0].rstrip(' ').lower() in _DEVICES:
    return f'{name} is the name of a device on Windows'
  if wrong := sorted(_SIGNS & set(name)):
    return f'Windows has no {wrong[0]!r} in names'
  if name[-1:] in ('.', ' '):
    return f'Windows has no names that end in {name[-1]!r}'
  return None


def ignores_case(folder: pathlib.Path) -> bool:
  """Whether two names in a folder that differ by their case are one file.

  Args:
    folder: that exists and can be written; nothing is left behind.
  """
  probe = folder / f'.{os.urandom(8).hex()}a'
  try:
    probe.touch(exist_ok=False)
  except OSError:
    return False
  try:
    return probe.with_name(probe.name.upper()).exists()
  finally:
    probe.unlink()
