"""Boxes, the protocol on them, detectors in ONNX files, and the program."""

import json
import subprocess
import sys

import numpy as np
import onnx_files
import pytest
from helpers import ROOT
from PIL import Image

from deblur_jax import errors
from deblur_jax.data import images
from deblur_jax.evaluation import detection, test_sets
from deblur_jax.evaluation.detection import boxes, detector

RNG = np.random.default_rng(0)
SIZE = (64, 96)          # of the input of the tiny detectors
CELLS = 8 * 12 + 4 * 6 + 2 * 3
# What the tiny ones see, in pixels of their input: centre and sides.
PLACE, BOX = 100, np.array([60.0, 30.0, 20.0, 10.0])


def some(n, *, classes=3):
  """Random boxes that overlap often, by falling confidence."""
  corner = RNG.uniform(0, 20, (n, 2))
  return boxes.Boxes(
      np.concatenate([corner, corner + RNG.uniform(4, 16, (n, 2))], axis=1),
      np.sort(RNG.uniform(0, 1, n))[::-1], RNG.integers(0, classes, n))


def made(*rows):
  """Boxes of (left, top, right, bottom, score, class)."""
  rows = np.array(rows, float).reshape(-1, 6)
  return boxes.Boxes(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))


def slow_iou(a, b):
  width = min(a[2], b[2]) - max(a[0], b[0])
  height = min(a[3], b[3]) - max(a[1], b[1])
  if width <= 0 or height <= 0:
    return 0.0
  areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
  return width * height / (sum(areas) - width * height)


def test_iou_by_hand():
  a = np.array([[0.0, 0, 2, 2], [5, 5, 5, 9]])
  b = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 5, 9]])
  np.testing.assert_allclose(
      boxes.iou(a, b), [[1, 1 / 7, 0, 0], [0, 0, 0, 0]])


def test_iou_counts_pixels():
  corner = RNG.integers(0, 12, (2, 9, 2))
  a, b = np.concatenate([corner, corner + RNG.integers(1, 9, (2, 9, 2))], 2)
  y, x = np.mgrid[:24, :24]
  inside = lambda box: ((box[0] <= x) & (x < box[2])
                        & (box[1] <= y) & (y < box[3]))
  expected = [[(inside(p) & inside(q)).sum() / (inside(p) | inside(q)).sum()
               for q in b] for p in a]
  np.testing.assert_allclose(
      boxes.iou(a.astype(float), b.astype(float)), expected)


def test_suppression_keeps_what_no_surer_one_covers():
  found = some(120)
  kept = []
  for box, score, kind in zip(*found, strict=True):
    if all(kind != k or slow_iou(box, b) <= 0.45 for b, _, k in kept):
      kept.append((box, score, kind))
  shuffled = boxes.take(found, RNG.permutation(120))
  left = boxes.suppress(shuffled, overlap=0.45)
  assert 10 < len(kept) < 110
  for got, expected in zip(left, zip(*kept, strict=True), strict=True):
    np.testing.assert_array_equal(got, np.array(expected))
  nothing = boxes.suppress(made(), overlap=0.45)
  assert [part.shape for part in nothing] == [(0, 4), (0,), (0,)]


def test_the_most_confident_choose_first():
  truth = made((0, 0, 10, 10, 1, 0), (0, 4, 10, 14, 1, 0), (50, 0, 60, 9, 1, 1))
  found = made(
      (0, 1, 10, 11, 0.9, 0),    # covers both; takes the first, the better
      (0, 0, 10, 10, 0.8, 0),    # exact, but the first is gone; 6/14 of second
      (0, 3, 10, 13, 0.7, 0),    # takes the second
      (0, 4, 10, 14, 0.6, 0),    # nothing left
      (50, 0, 60, 9, 0.5, 0))    # another class
  assert boxes.match(found, truth, overlap=0.5).tolist() == [
      True, False, True, False, False]
  assert boxes.match(found, made(), overlap=0.5).tolist() == [False] * 5
  assert boxes.match(made(), truth, overlap=0.5).shape == (0,)


def slow_match(found, truth, overlap):
  free, right = set(range(len(truth.scores))), []
  for box, _, kind in zip(*found, strict=True):
    able = [(slow_iou(box, truth.corners[j]), j) for j in free
            if truth.classes[j] == kind]
    best, j = max(able, default=(0, -1))
    right.append(best >= overlap)
    free -= {j} if right[-1] else set()
  return right


def test_average_precision_by_hand():
  right, scores = np.array([False, True, True]), np.array([0.5, 0.9, 0.2])
  # 1/1, 1/2, 2/3 at the recalls 1/3, 1/3, 2/3; the third is never found.
  assert boxes.average_precision(right, scores, truths=3) == pytest.approx(
      (1 + 2 / 3) / 3)
  # 0/1, 1/2, 2/3: at the first recall, too, 2/3 can be had.
  assert boxes.average_precision(
      right, scores[[1, 0, 2]], truths=2) == pytest.approx(2 / 3)
  assert boxes.average_precision(right[:0], scores[:0], truths=2) == 0


def slow_score(found, truth, confidence, overlap):
  """The protocol in its words: (precision, recall, f1, ap)."""
  ranked = [  # (score, class, right) of all pictures
      (score, kind, right) for f, t in zip(found, truth, strict=True)
      for (_, score, kind), right in zip(
          zip(*f, strict=True), slow_match(f, t, overlap), strict=True)]
  sure = [right for score, _, right in ranked if score >= confidence]
  kinds = [kind for t in truth for kind in t.classes]
  precision, recall = sum(sure) / len(sure), sum(sure) / len(kinds)
  areas = []
  for kind in set(kinds):
    curve, hits, count = [], 0, kinds.count(kind)
    mine = sorted((r for r in ranked if r[1] == kind), key=lambda r: -r[0])
    for seen, (_, _, right) in enumerate(mine, start=1):
      hits += right
      curve.append((hits, hits / seen))
    areas.append(sum(
        max((p for hits, p in curve if hits >= wanted), default=0)
        for wanted in range(1, count + 1)) / count)
  return (precision, recall, 2 * precision * recall / (precision + recall),
          sum(areas) / len(areas))


def test_score_is_the_protocol_in_its_words():
  truth = [some(n) for n in (9, 0, 14, 20)]
  found = [some(n, classes=4) for n in (12, 5, 0, 30)]
  for t, f in zip(truth, found, strict=True):   # some of them nearly right
    n = min(len(t.scores), len(f.scores)) // 2
    f.corners[:n] = t.corners[:n] + RNG.uniform(-2, 2, (n, 4))
    f.classes[:n] = t.classes[:n]
  got = boxes.score(found, truth, confidence=0.4, overlap=0.5)
  expected = slow_score(found, truth, 0.4, 0.5)
  assert 0.1 < expected[1] < 0.9
  assert [got[key] for key in ('precision', 'recall', 'f1', 'ap')] == (
      pytest.approx(expected))
  assert got['truths'] == 43 and got['right'] == round(43 * expected[1])


def test_the_truth_itself_scores_one_and_nothing_zero():
  truth = [some(6), made()]
  got = boxes.score(truth, truth, confidence=0.0, overlap=0.5)
  assert [got[key] for key in ('precision', 'recall', 'f1', 'ap')] == [1] * 4
  got = boxes.score([made(), made()], truth, confidence=0.0, overlap=0.5)
  assert [got[key] for key in ('precision', 'recall', 'f1', 'ap')] == [
      None, 0, 0, 0]


@pytest.mark.parametrize('centred, new, offset', [
    (False, (37, 64), (0, 0)), (True, (37, 64), (29, 0))])
def test_letterbox(centred, new, offset):
  picture = RNG.integers(0, 256, (81, 47, 3), np.uint8)
  image, scale, (left, top) = detector.letterbox(picture, SIZE, centred=centred)
  assert (left, top) == offset and image.shape == (*SIZE, 3)
  np.testing.assert_allclose(scale, np.array(new) / (47, 81))
  inside = np.zeros(SIZE, bool)
  inside[top:top + new[1], left:left + new[0]] = True
  assert (image[~inside] == 114).all()
  for y, x in RNG.integers(0, (new[1], new[0]), (40, 2)):
    # The pixel's centre in the picture, between four of its pixels' centres.
    v, u = (y + 0.5) * 81 / new[1] - 0.5, (x + 0.5) * 47 / new[0] - 0.5
    expected = sum(
        max(0, 1 - abs(v - j)) * max(0, 1 - abs(u - i)) * picture[
            min(max(j, 0), 80), min(max(i, 0), 46)].astype(float)
        for j in range(int(v) - 1, int(v) + 3)
        for i in range(int(u) - 1, int(u) + 3))
    np.testing.assert_allclose(image[top + y, left + x], expected, atol=1.01)


def test_letterbox_of_a_size_that_fits():
  picture = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
  for centred in (False, True):
    image, _, _ = detector.letterbox(picture, SIZE, centred=centred)
    np.testing.assert_array_equal(image, picture)


def slow_decode(raw, name):
  """One place after the other: corners and scores."""
  rows = raw.T if name == 'yolov8' else raw
  cells = [(x, y, stride) for stride in (8, 16, 32)
           for y in range(SIZE[0] // stride) for x in range(SIZE[1] // stride)]
  corners, scores = [], []
  for place, row in enumerate(rows):
    cx, cy, w, h = row[:4]
    if name == 'yolox':
      x, y, stride = cells[place]
      cx, cy = (cx + x) * stride, (cy + y) * stride
      w, h = stride * np.exp(w), stride * np.exp(h)
    corners.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    scores.append(row[4:] if name == 'yolov8' else row[4] * row[5:])
  return np.array(corners), np.array(scores)


def shape_of(form):
  shape = (form.at_a_cell * CELLS, form.before_classes() + 3)
  return shape[::-1] if form.columns else shape


@pytest.mark.parametrize('name', detector.FORMS)
def test_decode(name):
  form = detector.FORMS[name]
  raw = RNG.uniform(0, 1, shape_of(form))
  for got, expected in zip(detector.decode(raw, SIZE, form=form),
                           slow_decode(raw, name), strict=True):
    np.testing.assert_allclose(got, expected)


def tiny(path, name, *, inputs=(1, 3, *SIZE), box=BOX):
  """A detector of a form: at one place a box, its class the main colour."""
  form = detector.FORMS[name]
  before = form.before_classes()
  row = np.zeros(before + 3)
  row[:4] = box
  if form.relative:      # place 100 of 12 x 8, then 6 x 4 cells: x 4, y 0
    row[:4] = [box[0] / 16 - 4, box[1] / 16 - 0, *np.log(box[2:] / 16)]
  raw = np.zeros((form.at_a_cell * CELLS, before + 3))
  raw[PLACE] = row
  if form.objectness:
    raw[PLACE, 4] = 1
  colour = np.zeros((3, before + 3))
  colour[np.arange(3), before + np.arange(3)] = 1 / 255 if form.bgr_255 else 1
  if form.objectness:
    return onnx_files.write(path, inputs=inputs, constant=raw[None],
                            colour=colour)
  raw[np.arange(len(raw)) != PLACE, before:] = -1    # not seen
  return onnx_files.write(path, inputs=inputs, constant=raw.T[None],
                          colour=colour.T)


@pytest.fixture
def runtime():
  pytest.importorskip('onnxruntime', reason='the detector runs by onnxruntime')


@pytest.mark.parametrize('name', detector.FORMS)
def test_a_file_of_each_form_is_known_by_its_shape(name, runtime, tmp_path):
  path = tiny(tmp_path / 'd.onnx', name)
  form = name if name == 'yolox_decoded' else None
  detect = detector.load(path, form=form, confidence=0.5)
  picture = np.full((2 * SIZE[0], 2 * SIZE[1], 3), (204, 51, 0), np.uint8)
  corners, scores, classes = detect(picture)
  # Red is the first of RGB and the last of BGR.
  assert classes.tolist() == [2 if detector.FORMS[name].bgr_255 else 0]
  np.testing.assert_allclose(scores, [0.8], rtol=1e-5)
  np.testing.assert_allclose(corners, [[100, 50, 140, 70]], rtol=1e-5)


def test_boxes_end_where_the_picture_does(runtime, tmp_path):
  path = tiny(tmp_path / 'd.onnx', 'yolov5', box=np.array([50, 30, 60, 10.0]))
  picture = np.full((64, 32, 3), 255, np.uint8)      # at 32 ... 64 of 96
  corners, _, _ = detector.load(path, confidence=0.3)(picture)
  np.testing.assert_allclose(corners, [[0, 25, 32, 35]], atol=1e-4)


@pytest.mark.parametrize('change, message', [
    (dict(inputs=(1, 3, 'height', 96)), r'\[1, 3, height, 96\]: export it wit'),
    (dict(inputs=(1, 3, 60, 96)), r'\[1, 3, 60, 96\]: export .* multiples of'),
    (dict(inputs=(8, 3, 64, 96)), r'takes 1 input\(s\), .* \[8, 3, 64, 96\]'),
    (dict(inputs=(1, 4, 64, 96)), r'expected one of floats, \[1, 3, height, w'),
    (dict(inputs=(1, 3, 64, 64)), r'gives \[1, 126, 8\] for 64x64 pixels; expe'
     r'cted yolox \[1, 84, 5 \+ classes\] or .*v8 \[1, 4 \+ classes, 84\]'),
    (dict(form='yolov5'), r'expected yolov5 \[1, 378, 5 \+ classes\]\.$'),
    (dict(form='yolo'), "Unknown format 'yolo'; known: yolov5, yolov8, yolox,"),
])
def test_a_file_of_no_form_is_refused(runtime, tmp_path, change, message):
  form = change.pop('form', None)
  path = tiny(tmp_path / 'd.onnx', 'yolox', **change)
  with pytest.raises(errors.UserError, match=message):
    detector.load(path, form=form, confidence=0.3)


def test_what_only_looks_like_a_form_is_refused(runtime, tmp_path):
  picture = np.full((*SIZE, 3), 255, np.uint8)
  decoded = tiny(tmp_path / 'decoded.onnx', 'yolox_decoded')
  with pytest.raises(errors.UserError, match='is its format yolox_decoded?'):
    detector.load(decoded, confidence=0.3)(picture)
  wide = tiny(tmp_path / 'wide.onnx', 'yolox_decoded', box=BOX * 1e4)
  with pytest.raises(errors.UserError, match='boxes outside of any picture'):
    detector.load(wide, confidence=0.3, form='yolox_decoded')(picture)
  logits = onnx_files.write(
      tmp_path / 'logits.onnx', inputs=(1, 3, *SIZE), colour=np.zeros((3, 6)),
      constant=np.full((1, CELLS, 6), 3.0))
  with pytest.raises(errors.UserError, match='confidences up to 9; export it'):
    detector.load(logits, confidence=0.3)(picture)


def test_bad_files(runtime, tmp_path):
  with pytest.raises(errors.UserError, match='No file .*none.onnx'):
    detector.load(tmp_path / 'none.onnx', confidence=0.3)
  (tmp_path / 'bad.onnx').write_text('no protocol buffer')
  with pytest.raises(
      errors.UserError, match='Cannot read the detector .*bad.o'):
    detector.load(tmp_path / 'bad.onnx', confidence=0.3)


def test_without_onnxruntime(monkeypatch):
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  with pytest.raises(
      errors.UserError, match=r'deblur-jax\[detect'):
    detector.load('d.onnx', confidence=0.3)


@pytest.fixture
def run_folder(tmp_path):
  """What evaluation keeps of a run: red is seen, black is not."""
  folder = tmp_path / 'run' / 'eval_pictures'
  folder.mkdir(parents=True)
  red, black = np.zeros((2, *SIZE, 3), np.float32)
  red[..., 0] = 0.8
  for name, restored in (('seq/1', red), ('seq/2', black), ('seq/3', red)):
    test_sets.save_pictures(
        folder, name, {'blur': black, 'restored': restored, 'sharp': red})
  return folder.parent


def test_the_table_of_a_run(runtime, run_folder, tmp_path):
  states = detection.kept(run_folder)
  assert list(states['blur']) == ['seq_1', 'seq_2', 'seq_3']
  path = tiny(tmp_path / 'd.onnx', 'yolox')
  result = detection.run(
      path, sharp=states['sharp'], sides={
          key: states[key] for key in ('blur', 'restored')})
  blur, restored = result['rows']
  assert (blur['setting'], blur['precision'], blur['recall'], blur['ap']) == (
      'blur', None, 0, 0)
  assert restored['precision'] == 1
  assert restored['recall'] == restored['ap'] == pytest.approx(2 / 3)
  assert restored['f1'] == pytest.approx(0.8)
  assert result['pictures'][1] == {
      'name': 'seq_2', 'truths': 1, 'blur': {'found': 0, 'right': 0},
      'restored': {'found': 0, 'right': 0}}


def test_the_program(runtime, run_folder, tmp_path):
  path, out = tiny(tmp_path / 'd.onnx', 'yolox'), tmp_path / 'out'
  done = subprocess.run(
      [sys.executable, '-m', 'experiments.evaluate_detection',
       f'--detector={path}', f'--workdir={run_folder}', f'--out={out}',
       '--pictures=2'],
      cwd=ROOT, capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  rows = [[cell.strip() for cell in line.strip('|').split('|')]
          for line in done.stdout.splitlines()]
  assert rows[0] == ['setting', 'precision', 'recall', 'F1', 'AP', 'right',
                     'found', 'true']
  assert rows[2:] == [
      ['blur', '–', '0.000', '0.000', '0.000', '0', '0', '3'],
      [str(run_folder), '1.000', '0.667', '0.800', '0.667', '2', '2', '3']]
  written = json.loads((out / 'detect.json').read_text())
  assert written['rows'][1]['right'] == 2
  drawn = {path.name: images.read(path) for path in (out / 'boxes').iterdir()}
  assert sorted(drawn) == ['seq_1.png', 'seq_3.png']
  sheet = drawn['seq_1.png']
  assert sheet.shape == (64, 3 * 96, 3)
  # The box begins at (50, 25): true, true and missed, found.
  for k, colour in enumerate(
      (detection.TRUE, detection.TRUE, detection.FOUND)):
    assert tuple(sheet[25, 96 * k + 60]) == colour


@pytest.mark.parametrize('change, message', [
    (dict(sides={}), 'Nothing to compare with the sharp pictures: give folder'),
    (dict(confidence=0), r'confidence must be in \(0, 1\], got 0'),
    (dict(overlap=1.5), r'overlap must be in \(0, 1\], got 1.5'),
    (dict(sides={'mine': 'few'}), 'mine has no three and 1 more; all must'),
    (dict(sharp='few', sides={'mine': 'all'}), 'The sharp folder has no three'),
    (dict(sides={'mine': 'empty'}), 'empty: no pictures there'),
    (dict(sides={'mine': 'none'}), 'No folder .*none'),
    (dict(sides={'mine': 'small'}), 'small/one.png is 7x5, and .*/one.png 9'),
    (dict(sides={'mine': 'all'}),
     'finds nothing in the 3 sharp pictures with a confidence of 0.3'),
])
def test_mistakes_are_one_line(runtime, tmp_path, change, message):
  for folder, names, size in (
      ('all', ('one', 'two', 'three'), (9, 6)), ('few', ('one',), (9, 6)),
      ('empty', (), (9, 6)), ('small', ('one', 'two', 'three'), (7, 5))):
    (tmp_path / folder).mkdir()
    for name in names:
      Image.new('RGB', size).save(tmp_path / folder / f'{name}.png')
  options = {'sharp': 'all', 'sides': {'mine': 'all'}, **change}
  options['sharp'] = tmp_path / options['sharp']
  options['sides'] = {
      title: tmp_path / side for title, side in options['sides'].items()}
  with pytest.raises(errors.UserError, match=message):
    detection.run(tiny(tmp_path / 'd.onnx', 'yolox'), **options)


def test_a_run_that_kept_no_pictures(tmp_path):
  with pytest.raises(
      errors.UserError, match='eval_hide_pictures has no restor'):
    detection.kept(tmp_path, name='eval_hide')


def test_yolox_sees_the_bus(runtime, real_data):
  folder = real_data / 'detector'
  detect = detector.load(folder / 'yolox_nano.onnx', confidence=0.3)
  corners, scores, classes = detect(images.read(folder / 'bus.jpg'))
  assert sorted(classes) == [0, 0, 0, 5]           # persons and a bus
  # Read off the picture, by eye.
  bus = np.array([[15.0, 230, 805, 745]])
  persons = np.array([[50.0, 400, 245, 903], [222, 405, 345, 860],
                      [670, 395, 810, 880]])
  assert boxes.iou(corners[classes == 5], bus).max() > 0.85
  assert (boxes.iou(persons, corners[classes == 0]).max(axis=1) > 0.6).all()
  assert scores[classes == 5] > 0.8


def test_real_blur_hides_things(runtime, real_data):
  scene = real_data / 'gopro' / 'test' / 'GOPR0372_07_01'
  result = detection.run(
      real_data / 'detector' / 'yolox_nano.onnx', sharp=scene / 'sharp',
      sides={key: scene / key for key in ('blur', 'sharp')})
  blur, sharp = result['rows']
  assert sharp['f1'] == sharp['ap'] == 1
  assert blur['truths'] > 20 and 0.5 < blur['recall'] < 0.9
  assert blur['f1'] < 0.95 and blur['ap'] < 1
