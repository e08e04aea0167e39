# make install     .venv with all but Beam, libtpu and trackers, from the newest
#                  Python of 3.11 to 3.13 that runs
# make quickstart  the K ablation on the built-in pictures: runs/quickstart
# make test        ruff and the tests
# make docs        the manual: site/index.html; needs no network after the set-up

.PHONY: install quickstart test docs
PY := .venv/bin/python
# python3.13 may be a shim that answers 'not found': each is really run. pyenv's
# own folder is looked into, because its shims hide what is installed there.
RUNS := import ensurepip, ssl, sys, venv; assert sys.version_info[:2] in
CANDIDATES = for minor in 13 12 11; do \
  for python in python3.$$minor $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.$$minor.*/bin/python python3; do \
    "$$python" -c "$(RUNS) [(3, $$minor)]" 2>/dev/null && echo "$$python" && exit; done; done

install: .venv/installed

.venv/installed: requirements.txt pyproject.toml
	@python=$$($(CANDIDATES)); \
	test -n "$$python" || { echo 'error: no working Python 3.11, 3.12 or 3.13 found.' >&2; exit 1; }; \
	echo "make install: $$("$$python" --version)"; \
	test -x $(PY) || "$$python" -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@.venv/bin/uv pip install --quiet --compile-bytecode --python $(PY) -r requirements.txt -e '.[dev]'
	@touch $@

quickstart: install
	$(PY) -m experiments.ablate --name=k_scales --config=configs/quickstart.py \
	  --workdir=runs/quickstart

test: install
	.venv/bin/ruff check .
	$(PY) -m pytest

docs: install
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
