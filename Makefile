# make demo   sets up .venv, then compresses a digit classifier for two targets and proves it
# make test   sets up .venv, then runs the tests; test-offline with the network cut off, test-slow the ones that take minutes
# make lint   style, types, layers and wheel contents; bench prints what the product itself costs
# make lock   writes the hashes of .ci/constraints.txt's versions anew

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
TORCH := $(shell sed -n 's/^torch==\([^ ]*\).*/\1/p' .ci/torch.txt)
INSTALL_TORCH = if $(PIP) install --dry-run --no-deps torch==$(TORCH) >/dev/null 2>&1; \
	then $(PIP) install --no-deps --require-hashes --requirement .ci/torch.txt; \
	else echo "pip finds no CPU build of torch, so it takes the default one: 3 GB, of no known digest; .ci/torch.txt says how to have the other"; \
		$(PIP) install torch==$(TORCH:+cpu=); fi

.PHONY: demo test test-offline test-slow ready lint bench lock clean
.DELETE_ON_ERROR:

demo: .venv/with-demo
	$(BIN)/edgepress run digits --out build/digits

test: ready
	$(BIN)/python -m pytest -m "not slow" --durations 15 --numprocesses auto --maxprocesses 4 --dist loadfile

test-offline: ready
	$(BIN)/python tests/offline.py $(MAKE) test

ready: .venv/with-test .venv/with-links .venv/with-tweets .venv/with-cc .venv/with-chromium

test-slow: ready .venv/with-qemu .venv/with-qemu-arm
	$(BIN)/python -m pytest -m slow --durations 0

lint: .venv/with-test
	$(BIN)/ruff check --output-format concise
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/bandit --quiet --recursive --severity-level medium pipeline devices targets
	rm -rf build/wheel && $(PIP) wheel --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(BIN)/check-wheel-contents --ignore W009 build/wheel

bench: .venv/with-test
	$(BIN)/python tests/benchmarks/bench.py

# No build is isolated, so that setuptools too is the locked one. The lock is one for Python 3.11 and 3.12.
lock:
	@command -v uv >/dev/null || { echo "make lock needs uv; install it: python3 -m pip install uv" >&2; exit 1; }
	rm -f .ci/lock-*.txt # from a lock that is there uv takes the hashes unseen
	for extra in demo test; do uv --quiet --config-file .ci/uv.toml pip compile pyproject.toml --extra $$extra \
		--constraint .ci/constraints.txt --generate-hashes --no-emit-package torch --no-annotate --custom-compile-command "make lock" \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 --output-file .ci/lock-$$extra.txt >/dev/null || exit 1; done

clean:
	rm -rf .venv build .edgepress

.venv/with-%: pyproject.toml .ci/torch.txt .ci/lock-%.txt
	@test -n "$(PYTHON)" || { echo "edgepress needs Python 3.11 or 3.12; install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@start=$$(date +%s); echo "setting up .venv for '$*'"; $(INSTALL_TORCH) \
		&& $(PIP) install --no-deps --require-hashes --requirement .ci/lock-$*.txt \
		&& $(PIP) install --no-deps --no-build-isolation --editable . && echo "set-up took $$(( $$(date +%s) - start )) s"
	@touch $@

# Rated texts for two of the tasks: 2.4 MB, which no wheel holds, in the user's cache; the tests of those tasks open them.
.venv/with-tweets: | .venv/with-test
	@$(PIP) download --no-binary :all: --no-deps --no-build-isolation --require-hashes --requirement .ci/tweets.txt \
		--dest "$$($(BIN)/python -c 'from pipeline.tasks.text_ratings import archive_path; print(archive_path().parent)')"
	@touch $@

# The speech features' routine for devices is C; a test compiles it.
.venv/with-cc: | .venv/with-test
	@command -v cc >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >/dev/null; } \
		|| { echo "the tests need a C compiler; install it: apt-get install gcc libc6-dev" >&2; exit 1; }
	@touch $@

# The report's page is read in a real browser.
.venv/with-chromium: | .venv/with-test
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
		|| { echo "the tests need Chromium; install it: apt-get install chromium" >&2; exit 1; }
	@touch $@

.venv/with-qemu: | .venv/with-test
	@command -v qemu-x86_64 >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user; } \
		|| { echo "the slow tests need qemu-x86_64; install it: apt-get install qemu-user" >&2; exit 1; }
	@touch $@

# The emulated Arm userland, in the user's cache: 125 MB the first time, from Debian's mirror and pip's index.
.venv/with-qemu-arm: devices/arm/debian.py devices/arm/edgecount.c devices/arm/userland.py devices/arm/wheels.py | .venv/with-test
	@$(BIN)/edgepress devices --setup qemu
	@touch $@

# The tests reach boards by the real adb client and a real sshd of their own; the system's sshd stays off where we bring it. Keys come from openssl.
.venv/with-links: | .venv/with-test
	@command -v adb >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends adb >/dev/null; } \
		|| { echo "the tests need the adb client; install it: apt-get install adb" >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin" command -v sshd >/dev/null || { mkdir -p /etc/ssh && touch /etc/ssh/sshd_not_to_be_run && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server >/dev/null \
		&& echo "installed sshd for the tests, switched off; to use it yourself: rm /etc/ssh/sshd_not_to_be_run"; } \
		|| { echo "the tests need sshd; install it: apt-get install openssh-server" >&2; exit 1; }
	@command -v openssl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends openssl >/dev/null; } \
		|| { echo "the tests need openssl; install it: apt-get install openssl" >&2; exit 1; }
	@touch $@
