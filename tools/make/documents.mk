# Manual pages, shell completions and /etc/default/dflockd, generated from `PROGRAM --help`.

.PHONY: documents

PAGES       = $(patsubst tools/man/%.in,$(BUILD)/man/%,$(wildcard tools/man/*.in))
DOCUMENTED  = $(basename $(notdir $(PAGES)))
SHELLS      = bash zsh fish
COMPLETIONS = $(foreach shell,$(SHELLS),$(DOCUMENTED:%=$(BUILD)/completion/%.$(shell)))
AWK_FLAGS   = awk -f tools/man/flags.awk

documents: $(PAGES) $(COMPLETIONS) $(BUILD)/dflockd.default

$(BUILD)/help/%: $(BUILD)/% tools/man/help
	@mkdir -p $(@D)
	tools/man/help $< >$@

$(PAGES): $(BUILD)/man/%: tools/man/%.in tools/man/flags.awk tools/man/page.awk \
          $(DOCUMENTED:%=$(BUILD)/help/%)
	@mkdir -p $(@D)
	$(AWK_FLAGS) -f tools/man/page.awk reading=help $(BUILD)/help/$(basename $*) reading=page $< >$@

$(BUILD)/completion/%.bash $(BUILD)/completion/%.zsh $(BUILD)/completion/%.fish: \
        $(BUILD)/help/% tools/man/flags.awk $(wildcard tools/completion/*.awk)
	@mkdir -p $(@D)
	for shell in $(SHELLS); do $(AWK_FLAGS) -f tools/completion/choices.awk \
	    -f tools/completion/$$shell.awk reading=help $< >$(@D)/$*.$$shell || exit; done

$(BUILD)/%.default: $(BUILD)/help/% tools/man/flags.awk tools/dist/default.awk
	$(AWK_FLAGS) -f tools/dist/default.awk reading=help $< >$@
