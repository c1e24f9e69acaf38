"""A package with a pretext of its own, installed beside mvssl: nothing is imported by hand."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mvssl.data.synthetic import render_corpus
from mvssl.encoders import load_encoder

HERE = Path(__file__).parent
SETUP = [sys.executable, "-c", "import setuptools; setuptools.setup()"]
MVSSL = [sys.executable, "-m", "mvssl.cli"]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Runs a command where the package is installed.

    setuptools builds the module and its metadata into a folder, as for a development installation: pip would
    need a wheel, and for that other packages or the network.
    """
    source, site = tmp_path_factory.mktemp("source") / "theirs", tmp_path_factory.mktemp("site")
    shutil.copytree(HERE / "third_party", source)
    build = [*SETUP, "build_py", "--build-lib", str(site), "egg_info", "--egg-base", str(site)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    paths = [str(site), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def run(*command):
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    render_corpus(folder, tracks=30, seconds=3.2, seed=4)
    return str(folder)


def test_it_is_listed(beside):
    lines = [line.split(maxsplit=1) for line in beside(*MVSSL, "list", "pretexts").splitlines()]
    summary = "Contrasts tracks without a hidden layer, and keeps projections short."
    assert ["neighbours", f"{summary} [https://example.org/neighbours]"] in lines


@pytest.mark.slow
def test_it_is_trained_from_the_command_line(beside, corpus, tmp_path):
    arguments = ["--pretext", "neighbours", "--data", corpus, "--steps", "2", "--batch_size", "8"]
    beside(*MVSSL, "pretrain", *arguments, "--out", str(tmp_path / "run"))
    assert load_encoder(tmp_path / "run").embed_dim == 256
    assert "length" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")


@pytest.mark.slow
def test_it_is_compared_with_others(beside, corpus, tmp_path):
    beside(
        *MVSSL, "compare", "--pretexts", "neighbours", "--data", corpus, "--steps", "2",
        "--batch_size", "8", "--supervised_crops", "32", "--fractions", "1.0", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    assert methods == {"neighbours", "random", "mel_statistics", "supervised"}
    assert "Neighbours" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_the_contract_is_checked_for_it(beside):
    contract = str(HERE / "pretext" / "test_contract.py")
    printed = beside(
        sys.executable, "-m", "pytest", contract, "-k", "neighbours", "-q", "-p", "no:cacheprovider"
    )
    found = re.findall(r"(\d+) (passed|failed|skipped|error)", printed)
    assert [word for _, word in found] == ["passed"]
    assert int(found[0][0]) > 30
