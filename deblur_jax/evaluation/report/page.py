"""A report as one HTML file that needs nothing else.

Style, script and pictures are in the file; its policy forbids the browser to
load anything. A slider compares two states of a test picture.
"""

import base64
import html
import io
import json
import re
from collections.abc import Mapping, Sequence

from PIL import Image

from deblur_jax.evaluation.report import document, figures

MAX_SLIDES = 4_500_000     # bytes of all pictures of the slider
MAX_PICTURE = 1_500_000    # bytes of any other picture
SLIDE = (480, 640)         # largest height and width of a slide, pixels
_POLICY = ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
           "script-src 'unsafe-inline'")
_STYLE = '''
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #fff;
  --soft: #f2f2f5; --line: #c9c9d0; --mark: #0a58ca; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --paper: #16171a;
  --soft: #24262b; --line: #484b53; --mark: #8ab4f8; } }
body { margin: 0 auto; max-width: 85rem; padding: 1rem; color: var(--ink);
  background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
h1, h2 { line-height: 1.2; }
code { background: var(--soft); padding: 0 .25em; border-radius: 3px; }
.wide { overflow-x: auto; }
select { font: inherit; }
table { font-size: .9em; border-collapse: collapse; border: solid var(--ink);
  border-width: 2px 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .5rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
thead, .first { border-bottom: 1px solid var(--line); }
tbody tr:hover { background: var(--soft); }
figure { margin: 1rem 0; }
figure img { max-width: 100%; background: #fff; border-radius: 4px; }
figcaption { color: var(--ink); opacity: .75; font-size: .9em; }
#stage { position: relative; display: inline-block; max-width: 100%;
  cursor: ew-resize; touch-action: pan-y; user-select: none; }
#stage img { display: block; max-width: 100%; image-rendering: pixelated; }
#above { position: absolute; inset: 0; }
#bar { position: absolute; top: 0; bottom: 0; width: 2px; background: #ffd200;
  pointer-events: none; }
#compare label { display: inline-block; margin-right: 1rem; }
#position { width: min(30rem, 100%); vertical-align: middle; }
:focus-visible { outline: 3px solid var(--mark); outline-offset: 2px; }
'''
_COMPARE = '''
<section id="compare">
<h2>{}</h2>
<p><label>Picture <select id="picture"></select></label>
<label>Left <select id="left"></select></label>
<label>Right <select id="right"></select></label></p>
<div id="stage"><img id="below" alt=""><img id="above" alt="">
<div id="bar"></div></div>
<p><label for="position">Left of the line</label>
<input id="position" type="range" min="0" max="100" value="50"></p>
<noscript><p>The slider needs JavaScript.</p></noscript>
</section>
'''
_SCRIPT = '''
'use strict';
const slides = JSON.parse(document.getElementById('slides').textContent);
const at = name => document.getElementById(name);
const fill = (select, texts, chosen) => select.replaceChildren(
  ...texts.map((text, index) => new Option(text, index, false,
                                           index === chosen)));
const show = () => {
  const slide = slides[at('picture').value];
  const place = at('position').value;
  for (const [image, side] of [['above', 'left'], ['below', 'right']]) {
    const state = slide.states[at(side).value];
    at(image).src = state.src;
    at(image).alt = slide.name + ', ' + state.label;
    at(image).style.width = slide.width + 'px';
  }
  at('above').style.clipPath = 'inset(0 ' + (100 - place) + '% 0 0)';
  at('bar').style.left = place + '%';
};
const choose = () => {
  const labels = slides[at('picture').value].states.map(one => one.label);
  const kept = side => at(side).length ? Number(at(side).value) :
    Number(side === 'right');
  for (const side of ['left', 'right']) fill(at(side), labels, kept(side));
  show();
};
fill(at('picture'), slides.map(one => one.name), 0);
choose();
at('picture').addEventListener('input', choose);
for (const name of ['left', 'right', 'position'])
  at(name).addEventListener('input', show);
const drag = event => {
  if (!event.buttons) return;
  const box = at('stage').getBoundingClientRect();
  at('position').value = 100 * (event.clientX - box.left) / box.width;
  show();
};
at('stage').addEventListener('pointerdown', drag);
at('stage').addEventListener('pointermove', drag);
at('stage').addEventListener('dragstart', event => event.preventDefault());
'''


def to_html(
    title: str, blocks: Sequence[document.Block], files: Mapping[str, bytes],
    pictures: Sequence[figures.Picture]
) -> str:
  """A document as HTML.

  Args:
    title: of the document.
    blocks: its parts.
    files: path of a `document.Picture` -> its content.
    pictures: the slider compares their panels, cut to the most detailed part
      where they are larger than SLIDE; if they are too many, it has the first
      ones.

  Returns:
    The text of the file.
  """
  parts = [_html(block, files) for block in blocks]
  if any(isinstance(block, document.Slider) for block in blocks):
    # In a script nothing is escaped, and only '<' could end it.
    data = json.dumps(_slides(pictures)).replace('<', '\\u003c')
    parts += [f'<script type="application/json" id="slides">{data}</script>',
              f'<script>{_SCRIPT}</script>']
  return '\n'.join([
      '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
      f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>',
      f'<body><h1>{html.escape(title)}</h1>', *parts, '</body></html>', ''])


def _html(block: document.Block, files: Mapping[str, bytes]) -> str:
  match block:
    case document.Heading(text):
      return f'<h2>{_inline(text)}</h2>'
    case document.Text(text):
      return f'<p>{_inline(text)}</p>'
    case document.Bullets(items):
      lines = ''.join(f'<li>{_inline(item)}</li>' for item in items)
      return f'<ul>{lines}</ul>'
    case document.Table(head, body, rule):
      cells = lambda tag, line: ''.join(
          f'<{tag}>{_inline(cell)}</{tag}>' for cell in line)
      lines = ''.join(
          f'<tr{" class=first" if rule and not index else ""}>'
          f'{cells("td", line)}</tr>' for index, line in enumerate(body))
      return (f'<div class="wide" tabindex="0"><table><thead><tr>'
              f'{cells("th", head)}</tr></thead><tbody>{lines}</tbody></table>'
              '</div>')
    case document.Picture(path, text):
      words = html.escape(text)
      return (f'<figure><img src="{_uri(_limited(files[path]))}" alt="{words}">'
              f'<figcaption>{words}</figcaption></figure>')
    case document.Slider(text):
      return _COMPARE.format(html.escape(text))


def _inline(text: str) -> str:
  text = html.escape(text)
  text = re.sub(r'`([^`]+)`', r'<code>\1</code>', text)
  return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)


def _uri(data: bytes) -> str:
  kind = 'png' if data.startswith(b'\x89PNG') else 'jpeg'
  return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def _limited(data: bytes) -> bytes:
  """A picture file that is not too large: the same, or a JPEG."""
  if len(data) <= MAX_PICTURE:
    return data
  image = Image.open(io.BytesIO(data)).convert('RGB')
  found = data
  while len(found) > MAX_PICTURE:
    found = _encode(image, 'jpeg', quality=85)
    image = image.resize([max(1, side * 3 // 4) for side in image.size])
  return found


def _slides(pictures: Sequence[figures.Picture]) -> list[dict]:
  """What the script reads: PNG if all of it is small enough."""
  for options in (
      {'form': 'png'}, {'form': 'jpeg', 'quality': 92, 'subsampling': 0}):
    slides, size = [], 0
    for picture in pictures:
      panels = _cut(picture)
      data = [_encode(panel, **options) for panel in panels.values()]
      size += sum(map(len, data))
      if size > MAX_SLIDES and (slides or options['form'] == 'png'):
        break
      width = next(iter(panels.values())).width
      slides.append({
          'name': picture.name, 'width': width * max(1, SLIDE[1] // width),
          'states': [{'label': label, 'src': _uri(one)}
                     for label, one in zip(panels, data, strict=True)]})
    else:
      break
  return slides


def _cut(picture: figures.Picture) -> dict[str, Image.Image]:
  """The panels of a picture, cut to the part of most detail."""
  first, *_, last = picture.panels.values()
  height, width = (min(side, most) for side, most in zip(
      first.shape[:2], SLIDE, strict=True))
  top, left = figures.detailed_part(first, last, height=height, width=width)
  return {label: Image.fromarray(
      panel[top:top + height, left:left + width])
      for label, panel in picture.panels.items()}


def _encode(image: Image.Image, form: str, **options) -> bytes:
  file = io.BytesIO()
  image.save(file, format=form, **options)
  return file.getvalue()
