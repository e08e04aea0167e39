"""What the tabs of the page have in common: an upload, and a result."""

import os

from deblur_jax.app import page_jobs
from deblur_jax.media import pictures


def upload(label: str, name: str, **options):
  """A field for a picture's file; `name` is its id."""
  import gradio as gr

  return gr.File(
      label=label, elem_id=name, type='filepath', height=140,
      file_types=[*pictures.SUFFIXES, *pictures.READ_ONLY], **options)


def before_and_after(prefix: str):
  """The slider over both pictures; ids begin with `prefix`."""
  import gradio as gr

  return gr.ImageSlider(
      label='Before and after', elem_id=f'{prefix}slider', format='png',
      interactive=False, buttons=['fullscreen'], max_height=700)


def notes_and_download(prefix: str):
  """(notes, download)."""
  import gradio as gr

  notes = gr.Textbox(label='Notes', elem_id=f'{prefix}notes', max_lines=8,
                     interactive=False)
  download = gr.DownloadButton(
      'Download', elem_id=f'{prefix}download', interactive=False)
  return notes, download


def no_file():
  """The button without a file."""
  import gradio as gr

  return gr.DownloadButton('Download', value=None, interactive=False)


def outputs(result: page_jobs.Result):
  """(pictures before and after, button, notes)."""
  import gradio as gr

  name = os.path.basename(result.file)
  return (result.shown,
          gr.DownloadButton(f'Download {name}', value=result.file,
                            interactive=True),
          '\n'.join(result.notes))
