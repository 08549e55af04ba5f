# The targets that people and .ci/run use. Each works in an empty clone on a machine that has
# git, python3 (3.10 or later), cargo, make and, to install what the tests need, apt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT_PACKAGES := apache2-bin apache2-utils bash-completion bindfs busybox-static bzip2 \
               chromium-headless-shell daemontools datamash docker.io e2fsprogs fish fping goaccess \
               haproxy iproute2 iputils-ping libmariadb3 libnginx-mod-stream \
               libserver-starter-perl logrotate lz4 mandoc mariadb-client mariadb-server \
               musl-tools nginx-light openssh-client openssh-server openssl postfix prometheus \
               pv strace stunnel4 systemd tmux tshark wrk xz-utils zsh zstd

# Real logs, where they are at hand; a small one is part of the tests' data.
REAL_LOGS := ../shared/corpora/accesslog/ltsv/nginx-ltsv-hiroshima-a.log \
             ../shared/corpora/accesslog/json/nginx-json-42tokyo-1.jsonl \
             ../shared/corpora/accesslog/combined/isucon9-with-request-time.log \
             tests/data/accesslog/json/privateisu-task4233.20220610-124723.jsonl

.PHONY: demo test lint lint-rust lint-python bench wheel wheels wheel-tools test-wheel build servers fuzz \
        test-rust test-rust-beside test-python test-a-l-w-z test-m-o test-p-v test-house test-shared \
        soak soak-rounds repeat coverage docs pictures release-check release sanitize deny oldest \
        cross cross-bench cross-tools clean

demo: build
	$(BIN)/kojuto demo
	@for log in $(REAL_LOGS); do \
	    test ! -e "$$log" || { printf '\n== %s\n' "$$log"; $(BIN)/kojuto demo --logfile "$$log" || exit 1; }; \
	done

# Things are done beside each other where one alone would leave a core idle: packages are waited for, and
# the Python tests wait more than they work, so that Rust's are compiled and run with what they leave. The
# `MAKEFLAGS=` before cargo keep it from asking make for places, and from complaining that it has none.
test:
	$(MAKE) --no-print-directory -j2 build servers
	$(MAKE) --no-print-directory -j7 $(TESTS_PYTHON) test-rust-beside fuzz

lint:
	$(MAKE) --no-print-directory -j2 lint-rust lint-python

lint-rust:
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	MAKEFLAGS= cargo clippy --workspace --all-targets --quiet -- -D warnings
	@# A workspace of its own, which would else be compiled when all tests are done.
	MAKEFLAGS= cargo clippy --manifest-path rust/fuzz/Cargo.toml --target-dir target --no-default-features \
	    --quiet -- -D warnings

lint-python: build
	$(BIN)/ruff format --check python tests benches release
	$(BIN)/ruff check python tests benches release
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest kojuto._native

bench: build servers
	cargo bench --quiet -p kojuto-core --bench scan
	$(BIN)/python -m pytest benches -o python_files="bench_*.py" -o timeout=1800 -p benchmark -q -rf

build: $(VENV)/.dev
	@touch $(VENV)/.dev
	@echo 'build: the Rust core is compiled, which takes some minutes the first time'
	@PIP_QUIET=1 VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --quiet
	@# As pip does for a wheel: a command must not compile its modules at each start.
	$(BIN)/python -m compileall -q python/kojuto

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

# The real servers that the tests start themselves. Their packages must not start a system-wide
# instance, which a policy-rc.d that denies everything prevents.
servers:
	@tests/install-servers $(APT_PACKAGES)

test-rust:
	cargo test --workspace --quiet

test-rust-beside:
	MAKEFLAGS= nice -n 10 cargo test --workspace --quiet --no-run
	MAKEFLAGS= cargo test --workspace --quiet

# Of similar length: the commands, by the alphabet; what holds for all of them; and what they share.
TESTS_PYTHON := test-a-l-w-z test-m-o test-p-v test-house test-shared
test-python: $(TESTS_PYTHON)

test-a-l-w-z:
	$(BIN)/python -m pytest tests/tools/test_[!m-v]*.py

test-m-o:
	$(BIN)/python -m pytest tests/tools/test_[m-o]*.py

test-p-v:
	$(BIN)/python -m pytest tests/tools/test_[p-v]*.py

test-house:
	$(BIN)/python -m pytest tests/test_*.py

test-shared:
	$(BIN)/python -m pytest --ignore=tests/tools --ignore-glob='tests/test_*.py'

# Every server and pipe side by side under load while things go wrong, for an hour or SOAK_SECONDS; what
# was done and found is in target/soak/result.md. Then, as often as COUNT says, the long random runs with
# other dice each time, and the tests that `make test` leaves out (the mark `soak`, at most three, each
# with its reason): make soak SOAK_SECONDS=300 COUNT=5
COUNT ?= 0
soak: build servers
	$(BIN)/python -m pytest tests/soak/check_soak.py
	@test $(COUNT) = 0 || $(MAKE) --no-print-directory soak-rounds

soak-rounds:
	@for round in $$(seq $(COUNT)); do \
	    seed=$$(date +%s); echo "soak: round $$round of $(COUNT), KOJUTO_CHAOS_SEED=$$seed"; \
	    KOJUTO_CHAOS_SEED=$$seed KOJUTO_CHAOS_EVENTS=2000 KOJUTO_RACE_ROUNDS=5000 \
	    KOJUTO_STUCK_ROUNDS=25 KOJUTO_GENERATIONS=10 KOJUTO_STREAM_BYTES=20000000000 \
	    KOJUTO_DIFFERENTIAL_LOGS=1000 KOJUTO_LOGROTATE_ROUNDS=340 \
	        $(BIN)/python -m pytest -m "" -o timeout=1800 tests/tools/test_relaxlogs_chaos.py \
	        tests/tools/test_myps_race.py tests/test_stuck_readers.py \
	        tests/io/test_websocket_load.py tests/io/test_generations_servers.py \
	        tests/tools/test_motarei_ports.py \
	        tests/tools/test_axslog_differential.py \
	        tests/tools/test_no_excl_open_logrotate.py || exit 1; \
	    KOJUTO_FOLLOW_FIRST=$$seed KOJUTO_FOLLOW_SEEDS=10000 \
	        cargo test --release --quiet -p kojuto-io --test follow_random || exit 1; \
	    KOJUTO_COMPARE_SEED=$$seed KOJUTO_COMPARE_RUNS=200 \
	        cargo test --release --quiet -p kojuto-core --test compare_simulated || exit 1; \
	    $(BIN)/python -m pytest -m soak || test $$? = 5 || exit 1; \
	done
	SECONDS_EACH=60 $(MAKE) --no-print-directory fuzz

# Tests again and again, to find the one that fails now and then:
# make repeat TESTS="tests/io/test_relay.py tests/tools/test_sabo.py" COUNT=20 BUSY=-b
repeat: COUNT = 1
repeat: build servers
	tests/repeat -n $(COUNT) $(BUSY) $(TESTS)

# The Rust side for AArch64 on any Debian: the whole workspace is compiled, the tests of the core and
# of kojuto-io run under qemu-user. Emulated they take ten times as long, so that the random ones have
# fewer rounds than at home.
CROSS := aarch64-unknown-linux-gnu
# What qemu-user cannot run:
# - killed_between_any_two_system_calls…: it has no ptrace(2) (ENOSYS);
# - a_brief_wait_is_one_of_a_millisecond…: nor seccomp(2).
# - the two of follow_calls.rs run themselves under strace, which is ptrace(2) too.
CROSS_SKIP := killed_between_any_two_system_calls_no_line_is_lost_and_none_counted_twice \
    a_brief_wait_is_one_of_a_millisecond_where_the_kernel_knows_none_briefer \
    a_run_without_a_rotation_opens_one_file_however_many_are_known \
    a_link_that_was_not_turned_is_all_that_is_looked_at_beside_its_file
cross: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER = qemu-aarch64 -L /usr/aarch64-linux-gnu
cross: export PROPTEST_CASES ?= 64
cross: export KOJUTO_FOLLOW_SEEDS ?= 20
cross: cross-tools
	cargo clippy --workspace --all-targets --quiet --target $(CROSS) -- -D warnings
	cargo build --workspace --quiet --target $(CROSS)
	@echo "cross: not run under qemu-user: $(CROSS_SKIP)"
	cargo test -p kojuto-core -p kojuto-io --quiet --target $(CROSS) -- $(CROSS_SKIP:%=--skip %)

cross cross-bench: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = aarch64-linux-gnu-gcc

# How many AArch64 instructions the scanners need for a byte, with NEON and without.
cross-bench: cross-tools
	$(PYTHON) -m benches.guest_instructions

# What is missing after this is named by the commands that look for it.
cross-tools:
	@tests/install-servers gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
	@aarch64-linux-gnu-gcc --version >/dev/null && qemu-aarch64 --version >/dev/null
	@rustup target list --installed | grep -qx $(CROSS) || rustup --quiet target add $(CROSS)

# Which lines the tests reach, in Python and in Rust; it needs what `make test` needs and takes longer. From
# Python 3.12 on the answers of the HTTP servers are counted too, and what is unreached and not in
# tests/unreached.md fails the run.
# make coverage PYTHON=python3.12 TESTS="tests/core tests/common"
coverage: servers
	PYTHON=$(PYTHON) tests/coverage $(TESTS)

# The tests of the commands with dependencies, on Python 3.10 and with each at its lower bound.
oldest: $(VENV)/.dev servers
	tests/oldest $(TESTS)

# Licences, crates and where they come from, by deny.toml. Building cargo-deny takes minutes, once.
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-deny
	cargo deny check licenses bans sources

fuzz:
	MAKEFLAGS= rust/fuzz/run

# The unsafe parts under AddressSanitizer, UBSan and valgrind; each crate is compiled once more.
sanitize: build
	@tests/install-servers gcc valgrind
	tests/sanitize

# For Linux on x86-64 and AArch64, each with glibc 2.17 or later and with musl 1.2 or later, by zig: what
# release/targets.py lists. One takes five minutes of a core; PROFILE=quick half of that.
wheels: wheel-tools
	$(BIN)/python -m release.wheels

# The first of them: for this machine, with glibc.
wheel: wheel-tools
	$(BIN)/python -m release.wheels $$(uname -m)-unknown-linux-gnu

wheel-tools: $(VENV)/.dev
	@for triple in $$($(BIN)/python -m release.targets); do \
	    rustup target list --installed | grep -qx $$triple || rustup --quiet target add $$triple || exit 1; \
	done

# The one that the tests install, unless dist has one of this source: what `make build` has compiled, for this
# machine's glibc, so that nothing is compiled once more.
test-wheel: $(VENV)/.dev
	$(BIN)/maturin build --release --quiet --out target/wheels

# The site, in target/site; a link that leads nowhere fails it. The options of the commands are read from
# their source, for which nothing has to be compiled.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/.docs
	@# Not --quiet, which keeps warnings from --strict.
	PYTHONPATH=python $(BIN)/mkdocs build --strict

# What it needs and no more: not what the tests need.
$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

# The pictures of README and the docs, drawn again by what they show.
pictures: build
	$(BIN)/python -m tests.report.terminal
	$(BIN)/python -m tests.report.pictures

# What takes minutes and is wanted before a release: the site, every command line that is shown, run as
# it stands, the units of systemd, started by one, and all wheels, judged and used.
release-check: build servers docs wheels $(VENV)/.release
	@tests/install-servers debootstrap qemu-user
	$(BIN)/python -m pytest tests/release/check_*.py tests/test_licences.py

$(VENV)/.release: $(VENV)/.dev pyproject.toml
	$(BIN)/python -m pip install --quiet --group release
	touch $@

# The version is that of Cargo.toml. It refuses a changed tree, a tag that is there, and a version without a
# heading in CHANGELOG.md; then every check, the wheels, the sdist, the bills of materials and SHA256SUMS in
# dist, and the tag, which is not pushed.
release: $(VENV)/.release
	$(BIN)/python -m release.publish --ready
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory test
	rm -rf dist
	$(MAKE) --no-print-directory PROFILE=release release-check
	$(BIN)/python -m release.publish

clean:
	rm -rf $(VENV) target dist rust/fuzz/target
