import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile

from mvssl.data import _stderr, read_audio
from mvssl.data._stderr import Mpg123Filter

COMPLAINT = b"[src/libmpg123/layer3.c:INT123_do_layer3():1774] error: part2_3_length (768) too large\n"


@pytest.fixture
def filter_():
    return Mpg123Filter()


def test_complaints_are_dropped_and_the_rest_passes(filter_, capfd):
    os.write(2, b"before\n")
    with filter_.active():
        os.write(2, b"Note: Trying to resync...\n" + COMPLAINT)
        os.write(2, b"\r50 %")
        os.write(2, COMPLAINT)
    os.write(2, b" after\n")
    with filter_.active():
        os.write(2, COMPLAINT)
    assert capfd.readouterr().err == "before\n\r50 % after\n"


def test_what_others_write_arrives_while_a_thread_is_still_inside(filter_, capfd):
    with filter_.active():
        with filter_.active():
            os.write(2, COMPLAINT + b"progress\n")
        assert capfd.readouterr().err == "progress\n"
        os.write(2, COMPLAINT)
    assert capfd.readouterr().err == ""


def test_an_exception_inside_restores_the_descriptor(filter_, capfd):
    with pytest.raises(RuntimeError), filter_.active():
        raise RuntimeError
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_many_threads(filter_, capfd):
    def work(number):
        for _ in range(50):
            with filter_.active():
                os.write(2, COMPLAINT)
        os.write(2, b"%d\n" % number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"4\n")
    assert sorted(capfd.readouterr().err.split()) == ["0", "1", "2", "3", "4"]


FORK = """
import os, sys, threading
from _stderr import mpg123_filter

inside, leave = threading.Event(), threading.Event()

def read():
    with mpg123_filter.active():
        inside.set()
        leave.wait()

thread = threading.Thread(target=read)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    os.write(2, b"child speaks\\n")
    with mpg123_filter.active():
        os.write(2, b"Note: unheard\\n")
    os.write(2, b"child ends\\n")
    os._exit(0)
os.waitpid(child, 0)
leave.set()
thread.join()
os.write(2, b"parent ends\\n")
"""

NO_STDERR = """
import os
from _stderr import mpg123_filter

os.close(2)
with mpg123_filter.active():
    print("works")
"""


def run(code):
    """Runs code that imports the module alone, since importing torch takes seconds."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.path.dirname(_stderr.__file__)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_middle_of_a_read():
    assert run(FORK).stderr == "child speaks\nchild ends\nparent ends\n"


def test_a_process_without_standard_error():
    assert run(NO_STDERR).stdout == "works\n"


def test_reading_an_mp3_is_silent(tmp_path, capfd):
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(16_000 * 8) * np.repeat(rng.uniform(0, 1, 40) ** 4, 3200) / 8
    soundfile.write(tmp_path / "a.mp3", noise, 16_000, bitrate_mode="VARIABLE", compression_level=0.5)
    starts = range(1000, 100_000, 5000)
    for start in starts:
        soundfile.read(tmp_path / "a.mp3", start=start, frames=16_000)
    assert "libmpg123" in capfd.readouterr().err  # else the rest shows nothing
    for start in starts:
        read_audio(tmp_path / "a.mp3", start / 16_000, 1.0)
    assert capfd.readouterr().err == ""
