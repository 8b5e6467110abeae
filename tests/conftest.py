"""Settings that every test starts from, and the sweeps over targets and threads."""

import os

# Read when the OpenMP runtime starts: three threads even where there are fewer cores.
os.environ["OMP_NUM_THREADS"] = "3"

import hypothesis
import lanewise as lw
import numpy as np
import pytest
import threadpoolctl

hypothesis.settings.register_profile(
    "lanewise", deadline=None, max_examples=60, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("lanewise")

TARGETS = lw.config()["simd_available"]


@pytest.fixture(autouse=True)
def _default_settings():
    # Libraries that tests compare with lower OpenMP's maximum for the process, as torch does when
    # it is imported.
    with threadpoolctl.threadpool_limits(3, user_api="openmp"):
        lw.set_simd_target(None)
        lw.set_num_threads(3)
        lw.set_conv_algorithm("auto")
        yield


@pytest.fixture
def ordered_sums():
    """No Winograd's algorithm, unless a call asks for it."""
    lw.set_conv_algorithm("direct")


@pytest.fixture(params=TARGETS)
def simd(request):
    """Each SIMD target of this machine in turn, forced and seen to be in force."""
    lw.set_simd_target(request.param)
    assert lw.config()["simd"] == request.param
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)
