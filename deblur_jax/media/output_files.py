"""Names of the results of `deblur`, and safe writing of them.

A result is written beside its picture as `<stem>_deblurred.<ext>`, or under the
picture's name in another folder, which mirrors the folders that were given. A
name that would be too long is shortened, and of two results with one name one
has the full name of its picture, a.gif.png.
"""

import collections
import contextlib
import hashlib
import os
import pathlib
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from deblur_jax import errors
from deblur_jax.media import pictures
from deblur_jax.ops import atomic_files, file_names

STREAM = '-'  # stdin as a source, stdout as a target
SUFFIX = '_deblurred'
# Of a result's name. File systems take 255; parts of a video need some more.
NAME_BYTES = 240


class Spelling(NamedTuple):
  """How messages write the options of a caller; by default `deblur restore`.

  Attributes:
    out: that names the file or folder of the results.
    overwrite: that replaces existing files.
    skip_existing: that passes over inputs with a result; '' if there is none.
    suffix: of the names of results; '' if there is none.
    blur_threshold: that restores sharp photos.
  """

  out: str = '-o'
  overwrite: str = '--overwrite'
  skip_existing: str = '--skip-existing'
  suffix: str = '--suffix'
  blur_threshold: str = '--blur-threshold=0'


RESTORE = Spelling()
ONE_RESULT = Spelling(skip_existing='', suffix='')    # of the other commands


class Job(NamedTuple):
  """An input and the target of its result.

  Attributes:
    source: a path, or STREAM.
    target: a path, or STREAM.
    notes: for the user: why the target has not the usual name.
  """

  source: pathlib.Path | str
  target: pathlib.Path | str
  notes: tuple[str, ...] = ()


class Refused(NamedTuple):
  """A file or folder that cannot be processed, and the reason in one line.

  Attributes:
    source: the file or folder.
    reason: in one line.
  """

  source: pathlib.Path
  reason: str


class Plan(NamedTuple):
  """The work to do.

  Attributes:
    jobs: what is to be done.
    skipped: inputs that have a result.
    refused: files and folders that cannot be processed.
    passed: files of the folders that are neither pictures nor videos.
  """

  jobs: tuple[Job, ...]
  skipped: tuple[Job, ...]
  refused: tuple[Refused, ...]
  passed: tuple[pathlib.Path, ...]


class Part(NamedTuple):
  """A part of the inputs that is planned without the others.

  Attributes:
    source: a file, or a folder without its sub-folders.
    out: the folder of its results.
  """

  source: pathlib.Path
  out: pathlib.Path


def roots(
    inputs: Sequence[str | os.PathLike], *, out: str | os.PathLike,
    others: Mapping[str, str] | None = None) -> list[Part]:
  """Gives each input its folder of results, as `plan` does.

  Args:
    inputs: files and folders.
    out: a folder, which is made on writing.
    others: as of `plan`.

  Raises:
    UserError: stdin or stdout, an input that does not exist, a folder that
      cannot be written or has the name of a file, or two inputs of one name.
  """
  sources = _sources(inputs)
  if STREAM in sources or out == STREAM:
    raise errors.UserError('- is for one picture on one machine.')
  if os.path.exists(out) and not os.path.isdir(out):
    raise errors.UserError(f'{out} is there and is no folder; take another -o.')
  _check_names_folder(out, others or (), RESTORE)
  check_folders([os.path.join(out, '_')])
  found = dict.fromkeys(
      (source, _mirror(source, sources, out)) for source in sources)
  first = {}
  for source, folder in found:
    target = folder if source.is_dir() else folder / source.name
    if (other := first.setdefault(target, source)) != source:
      raise errors.UserError(
          f'The results of {other} and {source} would both be in {target}; '
          'restore them into different folders.')
  return [Part(*one) for one in found]


def folders(root: Part, *, out: str | os.PathLike) -> Iterator[Part]:
  """Splits an input into folders without their sub-folders.

  Args:
    root: of `roots`.
    out: the folder of all results, which is passed over.

  Yields:
    The file itself, or each folder that `plan` would look into, and each that
    cannot be read.
  """
  if not root.source.is_dir():
    yield root
    return
  closed = []
  for parent, below, _ in os.walk(
      root.source, onerror=lambda error: closed.append(error.filename)):
    below[:] = _searched(parent, below, out)
    yield _below(root, parent)
  yield from (_below(root, one) for one in closed)


def _below(root, folder):
  return Part(pathlib.Path(folder),
              root.out / os.path.relpath(folder, root.source))


def plan(
    inputs: Sequence[str | os.PathLike], *,
    out: str | os.PathLike | None = None, suffix: str | None = None,
    ext: str | None = None, others: Mapping[str, str] | None = None,
    recursive: bool = True, skip_existing: bool = False,
    overwrite: bool = False, may_be_empty: bool = False,
    spelling: Spelling = RESTORE) -> Plan:
  """Plans a target for every input; changes no file.

  In a folder the files with a known suffix are taken, sorted. Left out are
  hidden files, earlier results (files whose stem is the stem of a file beside
  them plus the suffix), files in `out`, and linked folders.

  Args:
    inputs: files, folders, or `-` (stdin).
    out: a file for one input; otherwise a folder, which is made on writing. A
      name that ends in `/` or has no suffix is a folder. `-` is stdout. None
      puts results beside their inputs, and the result of stdin on stdout.
    suffix: is appended to the stem; None is SUFFIX beside the inputs, and ''
      in another folder.
    ext: extension of the written pictures, such as 'png'; None keeps theirs.
    others: {suffix: suffix of the result} of files that are not pictures but
      are taken, too.
    recursive: whether sub-folders are searched.
    skip_existing: whether inputs that have a result are skipped.
    overwrite: whether existing files may be replaced; inputs never are.
    may_be_empty: whether folders may have no pictures.
    spelling: of the caller's options.

  Raises:
    UserError: an input that does not exist, a folder without pictures, a folder
      `out` that cannot be written, or a result that is an input or exists.
  """
  if not inputs:
    raise errors.UserError('No input; give files, folders, or - for stdin.')
  if skip_existing and overwrite:
    raise errors.UserError(
        'Existing results are skipped or written over, not both.')
  sources = _sources(inputs)
  name = _Names(suffix, _checked_ext(ext), dict(others or {}))
  refused, passed = [], []
  if out is None:
    jobs = _in_folders(
        sources, None, name, recursive, refused, passed, may_be_empty)
  elif _is_folder(out, sources, name, spelling):
    jobs = _in_folders(
        sources, pathlib.Path(out), name, recursive, refused, passed,
        may_be_empty)
  else:
    jobs = [Job(sources[0], _single(out, sources, name))]
  jobs = _with_short_names(_without_doubles(jobs))
  _check_inputs_stay(jobs, spelling)
  jobs = _with_free_targets(
      jobs, refused, alone=out is not None, spelling=spelling)
  if len(refused) == 1 and not jobs:
    raise errors.UserError(refused[0].reason)
  there = [job for job in jobs if _is_there(job.target)]
  if there and not skip_existing and not overwrite:
    more = f' and {len(there) - 1} more' if len(there) > 1 else ''
    ways = ', '.join(filter(None, (spelling.overwrite, spelling.skip_existing)))
    raise errors.UserError(
        f'{there[0].target}{more} exist{"" if more else "s"} already; take '
        f'{ways} or another {spelling.out}.')
  skipped = dict.fromkeys(there if skip_existing else ())
  return Plan(tuple(job for job in jobs if job not in skipped),
              tuple(skipped), tuple(refused), tuple(passed))


def check_target(
    target: str | os.PathLike, *, inputs: Sequence[str | os.PathLike],
    overwrite: bool = False, spelling: Spelling = ONE_RESULT) -> None:
  """Checks that `write` can write a target and that it is no input.

  Args:
    target: the file to write.
    inputs: files that must not be replaced.
    overwrite: whether the target may exist.
    spelling: of the caller's options.

  Raises:
    UserError: it cannot be written, exists, or is an input.
  """
  target = pathlib.Path(target)
  if reason := file_names.problem(target):
    raise errors.UserError(f'{reason}; take another {spelling.out}.')
  _check_inputs_stay([Job(pathlib.Path(one), target) for one in inputs
                      if os.path.exists(one)], spelling)
  _check_free(target, overwrite, spelling)
  check_folders([target], spelling=spelling)


def check_folders(
    targets: Sequence[str | os.PathLike], *, spelling: Spelling = RESTORE
) -> None:
  """Checks that new files can be made in the folders of targets.

  Missing folders are not made; in existing ones nothing is left behind.

  Args:
    targets: files to write, or STREAM.
    spelling: of the caller's options.

  Raises:
    UserError: the first folder in which no file can be made.
  """
  for folder in dict.fromkeys(
      pathlib.Path(os.path.realpath(target)).parent
      for target in targets if target != STREAM):
    near = _nearest(folder)
    if not near.is_dir():
      raise errors.UserError(
          f'{near} is no folder; take another {spelling.out}.')
    new = near / f'.{secrets.token_hex(8)}'
    try:
      new.touch(exist_ok=False)
      new.unlink()
    except OSError as error:
      raise errors.UserError(
          f'Cannot write {folder}: {error.strerror or error}; take another '
          f'{spelling.out}.') from None


def _nearest(folder) -> pathlib.Path:
  """A folder, or the lowest one above it that exists."""
  return next(one for one in (folder, *folder.parents) if os.path.exists(one))


@contextlib.contextmanager
def replacing(
    target: str | os.PathLike, *, overwrite: bool = False,
    spelling: Spelling = RESTORE) -> Iterator[pathlib.Path]:
  """Yields a path to write; it replaces `target` where the block ends well.

  See `atomic_files.replacing`.

  Args:
    target: the file.
    overwrite: whether it may exist; also checked at the end.
    spelling: of the caller's options.

  Raises:
    UserError: the target exists and may not be replaced, is no regular file, or
      cannot be written.
  """
  target = pathlib.Path(os.path.realpath(target))
  _check_free(target, overwrite, spelling)
  with atomic_files.replacing(
      target, durable=True,
      advice=f'; take another {spelling.out}') as part:
    yield part
    _check_free(target, overwrite, spelling)


def write(
    target: str | os.PathLike, data: bytes, **options) -> None:
  """Writes a file, whole or not at all.

  Args:
    target: the file.
    data: all of it.
    **options: of `replacing`.

  Raises:
    UserError: as of `replacing`.
  """
  with replacing(target, **options) as new:
    new.write_bytes(data)


class _Names(NamedTuple):
  """The rule that names results."""

  suffix: str | None
  ext: str | None
  others: Mapping[str, str]

  def known(self, path):
    """Whether a file of a folder is taken; without a suffix by its content."""
    if not path.suffix:
      return pictures.suffix_by_content(path) is not None
    return path.suffix.lower() in {
        *pictures.SUFFIXES, *pictures.READ_ONLY, *self.others}

  def result(self, path, *, suffix):
    """The path of the result beside its source; `suffix` is the default."""
    suffix = suffix if self.suffix is None else self.suffix
    kind = path.suffix.lower()
    ext = self.others.get(kind) or self.ext or pictures.READ_ONLY.get(kind)
    if ext is None and kind not in pictures.SUFFIXES and path.is_file():
      ext = pictures.suffix_by_content(path)
    # The source's own spelling, such as .JPG, where the form does not change.
    ext = path.suffix if ext in (None, kind) else ext
    return path.with_name(f'{path.stem}{suffix}{ext}')


def _sources(inputs):
  if '' in map(os.fspath, inputs):
    raise errors.UserError("An input is empty: ''; write . for this folder.")
  sources = [STREAM if name == STREAM else pathlib.Path(name)
             for name in inputs]
  if STREAM in sources and len(sources) > 1:
    raise errors.UserError('- is stdin, and must be the only input.')
  for source in sources:
    if source != STREAM and not os.path.exists(source):
      raise errors.UserError(f'No file or folder {source}.')
    if source != STREAM and not (source.is_file() or source.is_dir()):
      raise errors.UserError(
          f'{source} is a pipe or a device: pipe it to -, which is stdin.')
  return sources


def _checked_ext(ext):
  if ext is None:
    return None
  suffix = '.' + ext.lower().removeprefix('.')
  if suffix not in pictures.SUFFIXES:
    others = ', '.join(one[1:] for one in pictures.SUFFIXES if one != '.png')
    raise errors.UserError(
        f'--ext={ext}: results are not written as {suffix}; take png, or one '
        f'of {others}.')
  return suffix


def _is_folder(out, sources, name, spelling):
  many = len(sources) > 1 or (sources[0] != STREAM and sources[0].is_dir())
  if out == STREAM:
    if many:
      raise errors.UserError('- is stdout, and takes the result of one file.')
    return False
  out = os.fspath(out)
  if not out:
    raise errors.UserError(
        f'{spelling.out} is empty; write . for this folder.')
  is_folder = many or _is_named_folder(out) or not pathlib.Path(out).suffix
  if is_folder and os.path.exists(out) and not os.path.isdir(out):
    raise errors.UserError(
        f'{out} is there and is no folder; take another {spelling.out}.')
  if many:
    _check_names_folder(out, name.others, spelling)
  return is_folder


def _is_named_folder(out) -> bool:
  return os.path.isdir(out) or os.fspath(out).endswith(('/', os.sep))


def _check_names_folder(out, others, spelling):
  """Refuses the name of a picture or of an `other` for a new folder."""
  if not _is_named_folder(out) and pathlib.Path(out).suffix.lower() in {
      *pictures.SUFFIXES, *pictures.READ_ONLY, *others}:
    raise errors.UserError(
        f'{out} is the name of one file, and the results need a folder; take '
        f'{spelling.out} {pathlib.Path(out).stem}, or {out}/ for a folder of '
        'this name.')


def _single(out, sources, name):
  """The target that `out` names itself."""
  if out == STREAM:
    return STREAM
  out = pathlib.Path(out)
  is_other = out.suffix.lower() in {*name.others, *name.others.values()}
  if not is_other:
    pictures.form_of(out)
  source, = sources
  if source == STREAM and is_other:
    raise errors.UserError(
        f'- cannot become {out}: stdin is read as a picture; give a video by '
        'the name of its file.')
  if is_other != (os.path.splitext(source)[1].lower() in name.others):
    raise errors.UserError(
        f'{source} cannot become {out}: a video is written as a video, a '
        'picture as a picture.')
  if name.suffix:
    raise errors.UserError(f'{out} is the whole name; leave --suffix away.')
  if name.ext and name.ext != out.suffix.lower():
    raise errors.UserError(
        f'{out} does not end in {name.ext}; leave --ext away.')
  return out


def _in_folders(
    sources, out, name, recursive, refused, passed, may_be_empty):
  """The jobs with results beside their inputs, or in `out`."""
  default = SUFFIX if out is None else ''
  suffix = default if name.suffix is None else name.suffix
  if os.path.basename(suffix) != suffix:
    raise errors.UserError(f"The suffix {suffix} is no part of a file's name.")
  jobs = []
  for source in sources:
    if source == STREAM:
      if out is not None:
        raise errors.UserError(
            f'The result of stdin needs a name, and {out} is a folder.')
      jobs.append(Job(STREAM, STREAM))
    elif reason := _why_unread(source):
      refused.append(Refused(source, reason))
    elif not source.is_dir():
      target = name.result(source, suffix=suffix)
      jobs.append(Job(source, out / target.name if out else target))
    else:
      mirror = out and _mirror(source, sources, out)
      found = _found(source, name, {suffix, SUFFIX} - {''}, out, recursive,
                     refused, passed)
      if not found and not may_be_empty:
        raise errors.UserError(refused[-1].reason if refused
                               else f'{source}: no pictures there.')
      for path in found:
        target = name.result(path, suffix=suffix)
        jobs.append(Job(path, mirror / target.relative_to(source)
                        if mirror else target))
  return jobs


def _mirror(source, sources, out):
  """The folder in `out` where the results of a source are."""
  several = len(sources) > 1 and source.is_dir()
  return pathlib.Path(out, source.resolve().name if several else '')


def _searched(parent, folders, out):
  """The sub-folders of a folder that are looked into, sorted."""
  return sorted(
      one for one in folders if one[0] != '.' and one != '__MACOSX'
      and not (out and _is_same(os.path.join(parent, one), out)))


def _found(folder, name, results, out, recursive, refused, passed):
  """The files of a folder that are taken, sorted."""
  found = []

  def on_error(error):
    refused.append(Refused(
        pathlib.Path(error.filename),
        f'Cannot look into {error.filename}: {error.strerror}.'))

  for parent, folders, files in os.walk(folder, onerror=on_error):
    folders[:] = _searched(parent, folders, out) if recursive else ()
    paths = [pathlib.Path(parent, one) for one in sorted(files)]
    made = {_short(f'{own}{suffix}{path.suffix}')
            for path in paths for suffix in results
            for own in (path.stem, path.name)}
    made = {os.path.splitext(one)[0] for one in made}
    for path in paths:
      if path.name[0] == '.' or path.stem in made:
        continue
      if reason := _why_unread(path):
        refused.append(Refused(path, reason))
      elif not path.is_file():    # and may not be opened, which could wait
        refused.append(Refused(path, (
            f'{path} is a link that leads nowhere.' if path.is_symlink() else
            f'{path} is a pipe or a device; those of folders are not read.')))
      else:
        (found if name.known(path) else passed).append(path)
  return found


def _why_unread(path):
  """Why a picture is not read, by its suffix; None for other files."""
  what = pictures.UNREAD.get(path.suffix.lower())
  return what and (
      f'{path} is {what}, which is not read; save it as PNG, TIFF or JPEG.')


def _without_doubles(jobs):
  """Removes repeated jobs, and renames results that would have one name.

  The file whose form changes gets the full name of its source; if neither form
  changes, the later file does.
  """
  key, by_target = _keys(jobs), {}
  for job in sorted(jobs, key=_changes_form):
    first = by_target.setdefault(key(job.target), job)
    if first.source == job.source or _is_same(first.source, job.source):
      continue
    target = job.target.with_name(
        job.target.name.replace(job.source.stem, job.source.name, 1))
    if first.source.name == job.source.name or key(target) in by_target:
      raise errors.UserError(
          f'{first.source} and {job.source} would both become {job.target}; '
          'restore them into different folders.')
    by_target[key(target)] = Job(job.source, target, (
        f'the result is {target.name}: {job.target.name} is that of '
        f'{first.source.name}',))
  order = {job.source: number for number, job in enumerate(jobs)}
  return sorted(by_target.values(), key=lambda job: order[job.source])


def _changes_form(job):
  suffix = lambda path: os.path.splitext(path)[1].lower()
  return suffix(job.source) != suffix(job.target)


def _keys(jobs) -> Callable[[pathlib.Path | str], str]:
  """A function of targets that gives those of one file the same key."""
  exact = lambda target: (
      STREAM if target == STREAM else os.path.abspath(target))
  folded = lambda target: unicodedata.normalize('NFC', exact(target)).casefold()
  names = {exact(job.target) for job in jobs}
  alike = collections.Counter(map(folded, names))
  folders = {pathlib.Path(name).parent for name in names
             if alike[folded(name)] > 1}
  return (folded if any(file_names.ignores_case(_nearest(folder))
                        for folder in folders) else exact)


def _with_short_names(jobs):
  """Shortens the names of results that are too long."""
  return [job if job.target == STREAM
          or _short(job.target.name) == job.target.name
          else Job(job.source, job.target.with_name(_short(job.target.name)),
                   (*job.notes, 'the name of the result is shortened: '
                    f'{_short(job.target.name)}'))
          for job in jobs]


def _short(name):
  """A name of at most NAME_BYTES bytes, with a digest where it is cut."""
  stem, ext = os.path.splitext(name)
  if len(os.fsencode(name)) <= NAME_BYTES:
    return name
  end = f'-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}{ext}'
  stem = os.fsencode(stem)[:NAME_BYTES - len(os.fsencode(end))]
  return stem.decode(errors='ignore') + end


def _with_free_targets(jobs, refused, *, alone, spelling):
  """Keeps the jobs whose results can be written; refuses the others.

  Args:
    jobs: the jobs.
    refused: a list that grows.
    alone: whether all results go to one place that the user named, which must
      be writable.
    spelling: of the caller's options.
  """
  closed, kept = {}, []
  for job in jobs:
    reason = None if job.target == STREAM else file_names.problem(job.target)
    if reason:
      reason += f'; take another {spelling.out}.'
    elif job.target != STREAM:
      folder = pathlib.Path(os.path.realpath(job.target)).parent
      if folder not in closed:
        try:
          closed[folder] = check_folders([job.target], spelling=spelling)
        except errors.UserError as error:
          if alone:
            raise
          closed[folder] = str(error)
      reason = closed[folder]
      if os.path.isdir(job.target):
        reason = (f'{job.target} is a folder, where the result of {job.source} '
                  f'would be; take another {spelling.out}.')
      elif _is_there(job.target) and not os.path.isfile(job.target):
        reason = (f'{job.target} is no regular file; take another '
                  f'{spelling.out}.')
    if reason:
      refused.append(Refused(job.source, reason))
    else:
      kept.append(job)
  return kept


def _check_inputs_stay(jobs, spelling):
  inputs = {_identity(job.source): job.source
            for job in jobs if job.source != STREAM}
  for job in jobs:
    if _is_there(job.target) and _identity(job.target) in inputs:
      ways = ' or '.join(filter(None, (spelling.out, spelling.suffix)))
      raise errors.UserError(
          f'{job.target} is an input itself; take another {ways}.')


def _is_there(target):
  return target != STREAM and os.path.exists(target)


def _is_same(one, other):
  """Whether two paths lead to one file or folder, also through links."""
  try:
    return os.path.samefile(one, other)
  except OSError:
    return False


def _identity(path):
  stat = os.stat(path)
  return stat.st_dev, stat.st_ino


def _check_free(target, overwrite, spelling):
  if target.is_dir():
    raise errors.UserError(f'{target} is a folder; name a file.')
  if target.exists() and not target.is_file():
    raise errors.UserError(f'{target} is no regular file; name another.')
  if target.exists() and not overwrite:
    raise errors.UserError(
        f'{target} exists already; take {spelling.overwrite} or another name.')
