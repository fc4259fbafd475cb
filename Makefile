# graft: make, make demo, make test, make lint, make format, make bench, make man, make install.
# No configure; libraries come through pkg-config.
CC      ?= gcc
BUILD   ?= build
SAN     ?=
PREFIX  ?= /usr/local
ROOMS   := core autograd model optim data checkpoints recipes

PACKAGES := hdf5 libcjson libutf8proc nettle minizip zlib libprotobuf-c
LIBS    := $(shell pkg-config --libs $(PACKAGES)) -lpthread -ldl -lm
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wformat=2 -Wvla -Werror
# Hidden: the shared library exports what include/graft.h marks, and no more.
override CFLAGS += -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -ffp-contract=off $(WARN) -I. -Iinclude -I$(BUILD)/gen \
           $(shell pkg-config --cflags $(PACKAGES))
PLAIN_CFLAGS := $(CFLAGS)
ifneq ($(SAN),)
override CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer \
           -O1 -fno-var-tracking # a sanitized -O2 build of the kernels takes minutes
LDFLAGS += -fsanitize=$(SAN)
endif

# One kernel file per instruction set; only these see its flags, so the rest runs anywhere.
ifneq ($(findstring x86_64,$(shell $(CC) -dumpmachine)),)
ISA_avx2   := -mavx2 -mfma
ISA_avx512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma
endif
isa = $(foreach i,avx2 avx512,$(if $(findstring _$(i).,$(notdir $@)),$(ISA_$(i))))

SRC  := $(sort $(foreach r,$(ROOMS),$(wildcard $(r)/*.c)))
CLI  := $(sort $(wildcard cli/*.c))
TEST := $(sort $(wildcard tests/test_*.c))
GEN  := $(patsubst %.proto,$(BUILD)/gen/%.pb-c,$(foreach r,$(ROOMS),$(wildcard $(r)/*.proto)))
OBJ  := $(SRC:%.c=$(BUILD)/%.o) $(GEN:%=%.o)

# The inner kernels are where the time goes, and checks of each load and store make them ten times
# slower. So the build under AddressSanitizer takes those of products, and the plain twin, which
# alone takes a minute to compile, as the ordinary build has them. In place of those checks
# tests/test_gemm and tests/test_vec_twins put every operand beside a page that nobody may touch.
# Under ThreadSanitizer all of it is checked.
PLAIN     ?= build
UNCHECKED := $(wildcard core/gemm_avx*.c) core/gemm_plain.c core/vec_plain.c
ifneq ($(findstring address,$(SAN)),)
unchecked = $(foreach f,$(1),$(if $(filter $(UNCHECKED:%.c=$(BUILD)/%.o) \
            $(UNCHECKED:%.c=$(BUILD)/double/%.o),$(f)),$(f:$(BUILD)/%=$(PLAIN)/%),$(f)))
OBJ := $(call unchecked,$(OBJ))

$(UNCHECKED:%.c=$(PLAIN)/%.o): $(PLAIN)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(PLAIN_CFLAGS) $(isa) -MMD -MP -c $< -o $@

$(UNCHECKED:%.c=$(PLAIN)/double/%.o): $(PLAIN)/double/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(PLAIN_CFLAGS) $(isa) -DGF_REAL=double -MMD -MP -c $< -o $@
else
unchecked = $(1)
endif

# V=1 shows the commands.
ifeq ($(V),)
Q = @
say = @echo '  $(1) $@'
endif

all: $(BUILD)/graft $(BUILD)/libgraft.so

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(CFLAGS) $(isa) -MMD -MP -c $< -o $@

# Generated sources: not ours to keep free of warnings. Who includes one needs it made first.
$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: %.proto
	@mkdir -p $(@D)
	$(call say,GEN )
	$(Q)protoc-c --c_out=$(BUILD)/gen $<

$(GEN:%=%.o): %.o: %.c
	$(call say,CC  )
	$(Q)$(CC) $(CFLAGS) -w -MMD -MP -c $< -o $@

$(filter $(BUILD)/checkpoints/%,$(OBJ)) $(TEST:%.c=$(BUILD)/%.o): | $(GEN:%=%.h)

# The ready recipes that recipes/strategies.def names, as bytes: the program carries them.
READY := $(shell sed -n 's|^GF_STRATEGY("\([^"]*\)").*|recipes/\1.json|p' recipes/strategies.def)
$(BUILD)/gen/recipes/ready.inc: recipes/strategies.def $(READY)
	@mkdir -p $(@D)
	$(call say,GEN )
	$(Q)for file in $(READY); do \
	    printf '{"%s", (const char *)(const unsigned char[]){\n' "$$(basename $$file .json)"; \
	    od -An -v -tx1 $$file | sed 's/ *\([0-9a-f][0-9a-f]\)/0x\1,/g'; \
	    echo '0x00}},'; done >$@.tmp && mv $@.tmp $@
$(BUILD)/recipes/strategies.o: $(BUILD)/gen/recipes/ready.inc

$(BUILD)/libgraft.a: $(OBJ)
	@rm -f $@
	$(call say,AR  )
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libgraft.so: $(OBJ)
	$(call say,LINK)
	$(Q)$(CC) -shared -Wl,-soname,libgraft.so.0 $(LDFLAGS) $^ $(LIBS) -o $@

# HDF5=static: libhdf5 within the program, which then starts without the thirty libraries that
# Debian's shared one loads: some 9 ms sooner, for 3 MiB more.
GRAFT_LIBS = $(if $(filter static,$(HDF5)),$(patsubst -lhdf5,-l:libhdf5.a -lsz,$(LIBS)),$(LIBS))
$(BUILD)/graft: $(CLI:%.c=$(BUILD)/%.o) $(BUILD)/libgraft.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ $(GRAFT_LIBS) -o $@

# core and autograd a second time in double precision, where a wrong derivative cannot hide.
DOUBLE := $(call unchecked,$(patsubst %.c,$(BUILD)/double/%.o,$(filter core/%.c autograd/%.c,$(SRC))))
$(BUILD)/double/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  )
	$(Q)$(CC) $(CFLAGS) $(isa) -DGF_REAL=double -MMD -MP -c $< -o $@

$(BUILD)/tests/test_ops_double: tests/test_ops.c $(DOUBLE)
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) -DGF_REAL=double $(LDFLAGS) $^ $(LIBS) -lcmocka -o $@

# Where tests put their files: memory, where there is a file system in it, since many sync each file.
$(BUILD)/tests/%.o: override CFLAGS += -DSCRATCH='"$(if $(wildcard /dev/shm),/dev/shm,/tmp)"'

# Each tests/test_X.c is one cmocka program.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/tests/memory.o $(BUILD)/libgraft.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ $(LIBS) -lcmocka -o $@

# Libraries that tests/test_onednn loads instead of the real one: right, too new, with a hole. Their
# loops are most of that test's time when sanitized; what they read and write is checked all the same.
FAKES := $(addprefix $(BUILD)/tests/,fake_dnnl.so fake_dnnl_3.so fake_dnnl_hole.so)
$(BUILD)/tests/fake_dnnl_3.so:    FAKE := -DFAKE_MAJOR=3
$(BUILD)/tests/fake_dnnl_hole.so: FAKE := -DFAKE_WITHOUT
$(FAKES): tests/fake_dnnl.c
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(if $(SAN),-O2 -fno-sanitize=undefined) -fvisibility=default $(FAKE) -shared $(LDFLAGS) $< -o $@
$(BUILD)/tests/test_onednn.o: override CFLAGS += -DFAKES='"$(abspath $(BUILD))/tests/"'
$(BUILD)/tests/test_onednn: | $(FAKES)

# These are programs, each of its file in bench/; the other files of the room are their parts.
BENCH := $(addprefix $(BUILD)/bench/,kernels ops steps tokenizer)
BENCH_PARTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(BENCH:$(BUILD)/%=%.c),$(wildcard bench/*.c)))
$(BENCH): %: %.o $(BENCH_PARTS) $(BUILD)/libgraft.a
	$(call say,LINK)
	$(Q)$(CC) $(LDFLAGS) $^ $(LIBS) -o $@

# Kernels, ops and growth always; with MODEL, DATA and PEER, graft beside other programs. Tables as
# they come, figures into $(BUILD)/bench/*.json. See bench/README.md.
ROUNDS ?= 5
bench-programs: $(BENCH)

bench: all $(BENCH)
	$(BUILD)/bench/kernels --save $(BUILD)/bench/kernels.json
	$(BUILD)/bench/ops --save $(BUILD)/bench/ops.json
	python3 bench/growth.py --bench $(BUILD)/bench --json $(BUILD)/bench/growth.json
ifneq ($(and $(MODEL),$(DATA),$(PEER)),)
	python3 bench/compare.py --graft $(BUILD) --model $(MODEL) --data $(DATA) --peer "$(PEER)" \
	    $(if $(ORT),--ort "$(ORT)") $(if $(ORT_LATENCY),--ort-latency "$(ORT_LATENCY)") \
	    $(if $(ST_START),--start "sentence-transformers=$(ST_START)") \
	    $(if $(ORT_START),--start "ONNX Runtime=$(ORT_START)") \
	    --rounds $(ROUNDS) --json $(BUILD)/bench/compare.json
else
	@echo
	@echo 'Beside PyTorch: make bench MODEL=folder DATA=train.jsonl PEER="python3 script.py"'
	@echo 'and see bench/README.md.'
endif

tests: $(TEST:%.c=$(BUILD)/%) $(BUILD)/tests/test_ops_double

test:
	scripts/test

# The fault tests in their long form, some quarter of an hour. See docs/promises.md.
CRASH := $(addprefix $(BUILD)/tests/test_,crash features power resume damage)
crash: all $(CRASH)
	GRAFT=$(BUILD)/graft GRAFT_ALL_FAULTS=1 GRAFT_KILLS=1000 TMPDIR=$(if $(wildcard /dev/shm),/dev/shm,/tmp) \
	    python3 -B tests/run -v --limit 3600 $(CRASH) \
	    'python3 -B -m unittest discover -s tests/cli -p test_kill.py'

demo:
	scripts/demo

layers lint:
	python3 scripts/$@

format:
	clang-format -i $(wildcard $(foreach r,$(ROOMS) cli include tests bench,$(r)/*.[ch] $(r)/*.inc))

# Pages of the manual: one a command from its own --help, the others from docs/man. Texts stand once.
VERSION   := $(shell sed -n 's/.*GF_VERSION "\(.*\)"/\1/p' core/version.h)
COMMANDS  := $(shell sed -n 's/^GF_COMMAND(\(.*\))/\1/p' cli/commands.def)
MAN_PAGES := man1/graft.1 $(COMMANDS:%=man1/graft-%.1) man3/libgraft.3 man5/graft-recipe.5
man: $(MAN_PAGES:%=$(BUILD)/man/%)

$(BUILD)/man/man1/graft-%.1: scripts/make-man $(BUILD)/graft
	@mkdir -p $(@D)
	$(call say,MAN )
	$(Q)scripts/make-man command $(BUILD)/graft $* >$@.tmp && mv $@.tmp $@

MAN_SOURCES := $(wildcard docs/man/*.in)
$(filter-out $(COMMANDS:%=$(BUILD)/man/man1/graft-%.1),$(MAN_PAGES:%=$(BUILD)/man/%)): \
        scripts/make-man $(MAN_SOURCES) $(BUILD)/graft
	@mkdir -p $(@D)
	$(call say,MAN )
	$(Q)scripts/make-man page $(BUILD)/graft docs/man/$(@F).in >$@.tmp && mv $@.tmp $@

# Program, header, libraries, what pkg-config says of them, and the manual. What goes where, as
# make install PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu DESTDIR=debian/tmp.
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
SO      = libgraft.so.$(VERSION)
at      = "$(DESTDIR)$(1)"
install: all man
	install -d $(call at,$(PREFIX)/bin) $(call at,$(PREFIX)/include) $(call at,$(LIBDIR)/pkgconfig)
	install -m 755 $(BUILD)/graft $(call at,$(PREFIX)/bin/graft)
	install -m 644 include/graft.h $(call at,$(PREFIX)/include/graft.h)
	install -m 644 $(BUILD)/libgraft.a $(call at,$(LIBDIR)/libgraft.a)
	install -m 755 $(BUILD)/libgraft.so $(call at,$(LIBDIR)/$(SO))
	ln -sf $(SO) $(call at,$(LIBDIR)/libgraft.so.0)
	ln -sf libgraft.so.0 $(call at,$(LIBDIR)/libgraft.so)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR:$(PREFIX)/%=$${prefix}/%)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(LIBS)|' include/graft.pc.in \
	    >$(call at,$(LIBDIR)/pkgconfig/graft.pc)
	install -d $(call at,$(MANDIR)/man1) $(call at,$(MANDIR)/man3) $(call at,$(MANDIR)/man5)
	for page in $(MAN_PAGES); do \
	    install -m 644 $(BUILD)/man/$$page $(call at,$(MANDIR)/$$page) || exit 1; done

# With the same PREFIX and the like; folders stay.
uninstall:
	rm -f $(call at,$(PREFIX)/bin/graft) $(call at,$(PREFIX)/include/graft.h) \
	    $(call at,$(LIBDIR)/pkgconfig/graft.pc) $(call at,$(LIBDIR)/libgraft.a) \
	    $(call at,$(LIBDIR)/libgraft.so) $(call at,$(LIBDIR)/libgraft.so.0) $(call at,$(LIBDIR)/$(SO))
	for page in $(MAN_PAGES); do rm -f $(call at,$(MANDIR)/$$page); done

clean:
	rm -rf $(BUILD)

.PHONY: all bench bench-programs install uninstall man tests test crash demo layers lint format clean
.SECONDARY:
-include $(sort $(shell find $(BUILD) $(PLAIN)/core $(PLAIN)/double/core -name '*.d' 2>/dev/null))
