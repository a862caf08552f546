# make demo: the camera (or the shipped clip) through the shipped model.  make test: lint, types, tests.
# make PYTHON=... takes that one; otherwise the fastest that is found.
PYTHON =
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: demo test test-all install clean

demo: .venv/.installed
	$(BIN)/python scripts/predict_live_stream.py

test: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal

install: .venv/.installed

clean:
	rm -rf .venv build dist

.venv/.created:
	@python=$$(scripts/find_python.sh $(PYTHON)) && echo "making .venv with $$python" && $$python -m venv .venv
	@touch $@

.venv/.installed: .venv/.created pyproject.toml
	@echo "installing fer_jax into .venv (a few minutes the first time)"
	$(PIP) --editable .
	@touch $@

.venv/.installed-dev: .venv/.created pyproject.toml
	@echo "installing fer_jax and its development tools into .venv (a few minutes the first time)"
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/.installed
