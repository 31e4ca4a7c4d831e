# One command per habit. Each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KODAK ?= ../shared/kodak
IMAGE ?= $(wildcard $(KODAK)/kodim21.png)
PUBLISHED ?= ../shared/anchors/kodak_rd.json
REPORT ?= report
CONTROL ?=
TRAIN ?= $(wildcard ../shared/train/*.tar)
RUN ?= runs/base
MINUTES ?= 9
EXCLUDE ?= imagenet urban frenzy matheustt dixiedream sceaux monstree aaronyf
SURFACES ?=
BEFORE ?=

.PHONY: help install demo test test-fast check exactness cases fuzz soak reliability bench eval ablation artefacts scale serving readme train clean

help:
	@echo "make demo | test | test-fast | check | exactness | cases | fuzz | soak | reliability | bench | eval | ablation | artefacts | scale | serving | readme | train | clean"

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo,eval,train]'
	touch $@

install: $(VENV)/installed

demo: install  ## encode, truncate and decode a photograph; prints a table, draws a picture
	$(BIN)/python tools/demo.py --output demo

test: install  ## all tests, on two cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: install  ## the tests of the loop of work: without those marked slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

exactness: install  ## files under every setting, release and processor that can be had here; qemu-user emulates others
	mkdir -p $(REPORT)
	cd tools && OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m exactness -o $(abspath $(REPORT))/exactness.json

cases: install  ## small files and commands that went wrong elsewhere, run as a user would
	cd tools && OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m cases

fuzz: install  ## MINUTES=n of all surfaces, or SURFACES="header decoder"; what is found goes to tests/fuzz/regressions
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check 'atheris>=2.3'
	mkdir -p $(REPORT)
	cd tests && PYTHONPATH=../tools OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m fuzz --minutes $(MINUTES) \
		-o $(abspath $(REPORT))/fuzz.json $(SURFACES)

soak: install  ## MINUTES=n of mixed work in threads and processes, watching memory, handles and files
	mkdir -p $(REPORT)
	cd tools && $(abspath $(BIN))/python -m reliability.soak --minutes $(MINUTES) -o $(abspath $(REPORT))/soak.json

reliability: install  ## docs/reliability and the page anew, but for exactness, fuzz and soak: an hour
	cd tools && for part in "prefixes $(abspath $(KODAK))" sizes hostile damage "faults --trials 5" "large $(abspath $(IMAGE))"; do \
		OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m reliability.$$part -o ../docs/reliability/$${part%% *}.json || exit 1; done
	cd tools && $(abspath $(BIN))/python -m reliability.page

bench: install  ## times by stage, start-up, memory, folders, other codecs; IMAGE=file BEFORE=source tree
	mkdir -p $(REPORT)
	cd tools && $(abspath $(BIN))/python -m bench $(addprefix --image ,$(abspath $(IMAGE))) \
		$(addprefix --before ,$(abspath $(BEFORE))) \
		-o $(abspath $(REPORT))/bench.json -o $(abspath $(REPORT))/bench.md

eval: install  ## report/ over the images of KODAK=folder, beside the other codecs; PUBLISHED=file of curves
	$(BIN)/ctc evaluate $(KODAK) -o $(REPORT) $(addprefix --published ,$(wildcard $(PUBLISHED)))

ablation: install  ## docs/ablation.json from the images of KODAK=folder: parts and efforts of the codec; CONTROL=weights
	$(BIN)/ctc evaluate $(KODAK) -o $(REPORT) --ablation $(addprefix --control ,$(CONTROL))
	cp $(REPORT)/ablation.json docs/ablation.json

artefacts: install  ## grid, colour shifts and borders of KODAK=folder in figures, and docs/pictures.jpg
	$(BIN)/python tools/artefacts.py $(KODAK) --picture docs/pictures.jpg

scale: install  ## docs/scale.json and the page's figures, from pictures of KODAK=folder: large jobs on a local Ray cluster
	cd tools && $(abspath $(BIN))/python -m scale $(abspath $(KODAK)) --page

serving: install  ## docs/serving.json: what commands fetch of IMAGE=file behind a URL
	cd tests && $(abspath $(BIN))/python -m support.serving $(abspath $(IMAGE))

readme: install  ## README's numbers and plot from REPORT, which is committed as docs/results.json
	cp $(REPORT)/results.json docs/results.json
	cp $(REPORT)/rd_psnr.png docs/rd.png
	$(BIN)/python tools/readme_figures.py docs/results.json docs/ablation.json README.md

train: install  ## MINUTES=n TRAIN="folder shard.tar ..." RUN=folder START=weights.pt EXCLUDE="prefix ..."
	$(BIN)/ctc train $(TRAIN) --run $(RUN) --minutes $(MINUTES) $(addprefix --start ,$(START)) $(addprefix --exclude ,$(EXCLUDE))

clean:
	rm -rf $(VENV) demo report runs dist .pytest_cache .mypy_cache .ruff_cache
