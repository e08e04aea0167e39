"""The two sizes of the install: for restoring, and for training."""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_lists_of_requirements_agree():
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  two = project['dependencies'] + project['optional-dependencies']['train']
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  one = [line for line in (re.sub(r'#.*', '', line).strip() for line in lines)
         if line]
  assert sorted(two) == sorted(one)


def test_the_base_install_restores_and_names_what_training_lacks(tmp_path):
  photo, result = tmp_path / 'photo.png', tmp_path / 'sharp.png'
  random = np.random.default_rng(0)
  Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize(
      (48, 40), Image.Resampling.BICUBIC).save(photo)
  done = subprocess.run(
      [sys.executable, 'tests/base_only.py', photo, result], cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)}, capture_output=True,
      text=True)
  assert done.returncode == 2, done.stderr
  assert '--skip-existing' in done.stdout
  assert Image.open(result).size == (48, 40)
  assert done.stderr.splitlines()[-1] == (
      "error: This program needs ml_collections: pip install "
      "'deblur-jax[train]'.")
