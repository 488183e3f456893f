# make demo and make test are all a new machine needs: it has Go and root, nothing else.

CLANG_FORMAT ?= clang-format-19
C_FILES := bpf/netobs.bpf.c $(wildcard bpf/headers/*.h)
# Captures with the verdicts of other tools, if there are any.
CORPUS := $(or $(NETOBS_CORPUS),../shared/corpus)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

.PHONY: build generate test test-capabilities test-kernels bench lint demo clean install uninstall image

build:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o build/netobs ./cmd/netobs

# Compiles the BPF programs and makes the dashboards; the results are committed. Needs clang-19, llvm-19 and libbpf-dev.
generate:
	go generate ./...

# All tests. As root nothing is skipped; set NETOBS_TEST_PRIVILEGED=1 to make a skip a failure.
test:
	go test -timeout 20m ./...
	@test -d "$(CORPUS)" || echo "NOTE: no captures at $(CORPUS): the decoder was not held against other tools' verdicts"

# The tests of attaching, with the capabilities that the README says are enough, and two that tests need themselves: to send
# raw packets, and to listen on low ports. What these cannot do is tested with all: capabilities, other people's processes
# (CAP_SYS_PTRACE), containers.
ENOUGH := -all,+sys_admin,+net_admin,+net_broadcast,+net_raw,+net_bind_service
test-capabilities:
	go test -short -exec 'setpriv --bounding-set=$(ENOUGH)' ./loader
	go test -short -exec 'setpriv --bounding-set=$(ENOUGH)' -run '$(ATTACHING)' ./cmd/netobs
ATTACHING := IsExact|Topology|Tun|Shapes|Leaves|Leftovers|Learned|AtOnce|Loss|Gone|LoIsSetUp|Unanswered|Routed

# The tests of a list inside Debian's kernels 5.10, 6.1, 6.12 and newest, emulated. Needs qemu-system-x86 and xz-utils,
# or, for ARCH=arm64, qemu-system-arm. KERNELS="6.1 newest" chooses some.
ARCH ?= amd64
test-kernels: build/kernels build/kernels-$(ARCH)
	build/kernels --arch $(ARCH) --kernels "$(KERNELS)" loader/kernels/tests.txt

# Runs a test binary inside a kernel: CGO_ENABLED=0 go test -exec "$$PWD/build/kernels --exec 5.10" -run X ./loader
.PHONY: build/kernels build/kernels-$(ARCH)
build/kernels:
	CGO_ENABLED=0 go build -o $@ ./loader/kernels
build/kernels-$(ARCH):
	CGO_ENABLED=0 GOARCH=$(ARCH) go build -o $@ ./loader/kernels

# One table each: what a segment costs in the kernel, and in the tracker; what a capture costs, beside other tools. The capture
# has 100 MB, or NETOBS_BENCH_CAPTURE_BYTES.
bench:
	go test -run '^$$' -bench . -benchtime 1x ./bpf
	go test -run '^$$' -bench . -benchmem ./decode/... ./metrics
	go test -run '^$$' -bench 'Read|Traffic|Scale' -benchtime 1x ./cmd/netobs

lint:
	test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	for arch in arm64 s390x; do CGO_ENABLED=0 GOARCH=$$arch go build ./... || exit 1; done # s390x is big-endian
	$(CLANG_FORMAT) --dry-run --Werror $(C_FILES)

# Installs build/netobs with its unit, man pages and completions below PREFIX, or below DESTDIR for who makes a package. Start it by
#   systemctl enable --now netobs.socket netobs.service
PREFIX ?= /usr/local
NETOBS ?= build/netobs
BIN := $(DESTDIR)$(PREFIX)/bin
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
MAN := $(DESTDIR)$(PREFIX)/share/man/man1
BASH := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
install: $(NETOBS)
	install -d $(BIN) $(UNITS) $(MAN) $(BASH) $(ZSH) $(FISH)
	install -m 755 $(NETOBS) $(BIN)/netobs
	$(NETOBS) manifest systemd --to $(UNITS)
	sed -i 's,=/usr/local/bin/,=$(PREFIX)/bin/,' $(UNITS)/netobs.service
	$(NETOBS) man --to $(MAN)
	$(NETOBS) completion bash > $(BASH)/netobs
	$(NETOBS) completion zsh > $(ZSH)/_netobs
	$(NETOBS) completion fish > $(FISH)/netobs.fish
build/netobs:
	$(MAKE) build

uninstall:
	rm -f $(BIN)/netobs $(UNITS)/netobs.service $(UNITS)/netobs.socket $(MAN)/netobs.1 $(MAN)/netobs-*.1
	rm -f $(BASH)/netobs $(ZSH)/_netobs $(FISH)/netobs.fish

# A container image called netobs.
image: build
	$(NETOBS) manifest docker --to build/image
	docker build --tag netobs build/image

demo: build
	./build/netobs demo

clean:
	rm -rf build
