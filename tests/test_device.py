import subprocess
import sys

import pytest
import torch

from mvssl.device import default_workers, uses_bf16

CPU = torch.device("cpu")


def test_precision_is_what_was_asked_for():
    assert uses_bf16("bf16", CPU)
    assert not uses_bf16("fp32", CPU)
    assert uses_bf16("auto", CPU) == torch.cpu._is_avx512_bf16_supported()


def test_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="fp8"):
        uses_bf16("fp8", CPU)


def test_a_cpu_keeps_its_cores_for_training():
    assert default_workers(CPU) == 0
    assert default_workers(torch.device("cuda")) >= 1


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_freed_memory_is_used_again():
    code = """
import resource, sys, torch
from mvssl.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def churn():
    for _ in range(20):
        torch.ones(6_000_000)
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", code, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "plain")
    }
    assert faults["keep"] < 1000
    if faults["plain"] > 1000:  # an allocator other than glibc's may never have had the problem
        assert faults["keep"] < faults["plain"] / 5
