# Generated stubs and the checks of the contract. The Makefile includes this file.
# Versions: tools/requirements.txt, tools/go.mod, tools/package.json. Everything is installed under .tools/.
# The Java stubs are not among them: Maven generates them in each build of clients/java.

PYTHON ?= python3
BUF ?= $(CURDIR)/.venv/bin/buf

# A language takes part when its toolchain is here. `make gen REQUIRE_ALL=1` makes a missing one an error.
has = $(if $(filter $(words $(1)),$(words $(foreach tool,$(1),$(shell command -v $(tool))))),yes)
LANGUAGES := python $(if $(call has,go),go) $(if $(call has,node npm),typescript)
MISSING := $(filter-out $(LANGUAGES),python go typescript)

GENERATED := clients/python/headwater/v1 clients/go/headwater/v1 clients/typescript/headwater/v1 \
	clients/typescript/google/rpc

gen-tools-python := .tools/python-gen/.done
gen-tools-go := .tools/bin/protoc-gen-go-grpc
gen-tools-typescript := .tools/typescript-gen/.done

.PHONY: gen gen-check tools buf-lint buf-breaking contract-baseline

gen: $(foreach language,$(LANGUAGES),$(gen-tools-$(language))) ## Regenerate the stubs of every language
	@if [ -n "$(MISSING)" ]; then \
		echo "Left out, for want of their toolchain: $(MISSING)" >&2; [ "$(REQUIRE_ALL)" != 1 ]; \
	fi
	.tools/python-gen/bin/python tools/gen.py $(LANGUAGES)

gen-check: gen ## Fail if the committed stubs are not what `make gen` writes
	@changed=$$(git status --porcelain --untracked-files=all -- $(GENERATED)) || exit 1; \
	if [ -n "$$changed" ]; then \
		echo "The committed stubs differ from what the contract generates. Run make gen and commit:" >&2; \
		echo "$$changed" >&2; exit 1; \
	fi

tools: $(addprefix .tools/bin/,grpcurl ghz h2spec interop-client) $(if $(call has,java mvn),.tools/interop-java) ## Get grpcurl, ghz, h2spec (need Go) and gRPC's interop clients (Go; Java and Maven)

buf-lint: ## Check the style and the comments of the contract
	cd protos && $(BUF) lint

buf-breaking: ## Fail if the contract breaks callers of the last release
	@test -f protos/baseline.binpb || { echo "protos/baseline.binpb is missing: make contract-baseline" >&2; exit 1; }
	cd protos && $(BUF) breaking --against baseline.binpb

contract-baseline: ## Record the contract as released (only when releasing)
	cd protos && $(BUF) build --exclude-source-info --output baseline.binpb

.tools/python-gen/.done: tools/requirements.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --requirement tools/requirements.txt
	touch $@

.tools/bin/protoc-gen-go-grpc: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(CURDIR)/.tools/bin go install \
		google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	touch $@

.tools/bin/grpcurl: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(CURDIR)/.tools/bin go install github.com/fullstorydev/grpcurl/cmd/grpcurl
	touch $@

.tools/bin/ghz: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(CURDIR)/.tools/bin go install github.com/bojand/ghz/cmd/ghz
	touch $@

.tools/bin/h2spec: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(CURDIR)/.tools/bin go install github.com/summerwind/h2spec/cmd/h2spec
	touch $@

.tools/bin/interop-client: tools/go.mod tools/go.sum
	cd tools && go build -o $(CURDIR)/$@ google.golang.org/grpc/interop/client
	touch $@

.tools/interop-java: tools/interop/pom.xml
	rm -rf $@
	mvn --quiet --batch-mode -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$@.new
	mv $@.new $@
	touch $@

.tools/typescript-gen/.done: tools/package.json tools/package-lock.json tools/.npmrc
	mkdir -p $(@D)
	cp tools/package.json tools/package-lock.json tools/.npmrc $(@D)
	npm ci --prefix $(@D) --silent --ignore-scripts --no-audit --no-fund
	touch $@
