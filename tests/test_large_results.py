"""The pool that large results come from: recycled, bounded, given back; arrays like any other."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc

import lanewise as lw
import numpy as np
import pytest

# NumPy 2 has it elsewhere than NumPy 1.
handler_name = (np._core if hasattr(np, "_core") else np.core).multiarray.get_handler_name
MB = 1 << 20
COLUMNS = 1 << 18  # a row of float32 has a megabyte


@pytest.fixture(autouse=True)
def fresh_pool():
    """Each test begins with the default limit and nothing that waits."""
    gc.collect()
    limit = lw.config()["pool_limit"]
    lw.release_pool()
    yield
    lw.set_pool_limit(limit)
    lw.release_pool()


def result(megabytes):
    """A result of about so many megabytes: every element is 1 / COLUMNS."""
    x = np.broadcast_to(np.float32(0), (megabytes, COLUMNS))
    return lw.softmax(x)


def pool():
    config = lw.config()
    return config["pool_waiting"], config["pool_in_use"]


def test_blocks_return_and_serve_the_next_result():
    y = result(40)
    address = y.ctypes.data
    assert pool() == (0, 40 * MB)
    del y
    assert pool() == (40 * MB, 0)
    y = result(40)
    assert y.ctypes.data == address
    assert pool() == (0, 40 * MB)
    np.testing.assert_array_equal(y, np.float32(1 / COLUMNS))


def test_a_block_serves_results_that_waste_at_most_a_quarter():
    result(50)
    assert pool() == (50 * MB, 0)
    y = [result(40), result(38)]
    assert pool() == (0, (50 + 38) * MB)
    y.clear()
    y.append(result(38))
    assert pool() == (50 * MB, 38 * MB)  # the smallest that fits
    y.clear()
    y.append(result(60))
    assert pool() == ((50 + 38) * MB, 60 * MB)


def test_small_results_are_not_the_pools():
    y = result(1)
    assert pool() == (0, 0)
    del y
    assert pool() == (0, 0)


def test_every_op_takes_its_result_from_the_pool():
    image = np.zeros((1, 1024, 1024, 8), np.float32)
    rows = np.zeros((3000, 2), np.float32)
    scores = np.zeros((40, COLUMNS), np.float32)
    calls = [
        lambda: lw.conv2d(image, np.zeros((1, 1, 8, 8), np.float32)),
        lambda: lw.max_pool2d(image, 3, stride=1, padding="same"),
        lambda: lw.avg_pool2d(image, 3, stride=1, padding="same"),
        lambda: lw.softmax(scores),
        lambda: lw.log_softmax(scores),
        lambda: lw.softmax_backward(scores, scores),
        lambda: lw.pairwise_distances(rows),
    ]
    for call in calls:
        y = call()
        waiting, in_use = pool()
        assert in_use >= y.nbytes
        del y
        assert pool() == (waiting + in_use, 0)
        lw.release_pool()
    values, indices = lw.max_pool2d(image, 3, stride=1, padding="same", return_indices=True)
    assert pool()[1] == values.nbytes + indices.nbytes


def test_the_limit_bounds_what_waits():
    lw.set_pool_limit(100 * MB)
    y = [result(n) for n in (40, 44, 48)]
    assert pool() == (0, 132 * MB)  # arrays that live are nobody's business
    y.pop(0)
    y.pop(0)
    assert pool() == (84 * MB, 48 * MB)
    y.pop(0)
    assert pool() == (92 * MB, 0)  # the one unused for longest is gone
    lw.set_pool_limit(60 * MB)
    assert pool() == (48 * MB, 0)
    lw.release_pool()
    assert pool() == (0, 0)


def test_a_limit_of_zero_turns_it_off():
    y = result(40)
    lw.set_pool_limit(0)
    z = result(40)
    assert pool() == (0, 40 * MB)
    del y, z
    assert pool() == (0, 0)
    np.testing.assert_array_equal(result(33), np.float32(1 / COLUMNS))


@pytest.mark.parametrize("limit", [-1, 2**64])
def test_limits_that_are_none(limit):
    with pytest.raises(ValueError, match=f"set_pool_limit: bytes is {limit}, expected 0 to"):
        lw.set_pool_limit(limit)
    with pytest.raises(TypeError):
        lw.set_pool_limit(1.5)


def test_arrays_are_like_any_other():
    y = result(40)
    assert type(y) is np.ndarray
    assert y.flags.owndata
    assert y.base is None
    assert y.flags.c_contiguous
    assert y.flags.writeable
    view = y[3, ::2]
    del y
    assert pool() == (0, 40 * MB)  # the view keeps it
    np.testing.assert_array_equal(view, np.float32(1 / COLUMNS))
    y = view.base
    for other in (copy.deepcopy(y), y.copy(), pickle.loads(pickle.dumps(y)), y + 0):
        np.testing.assert_array_equal(other, y)
    assert pool() == (0, 40 * MB)  # copies are NumPy's own
    del view, other, y
    assert pool() == (40 * MB, 0)


def test_other_arrays_are_numpys():
    """The handler is there for our own allocation only."""
    result(40)
    before = pool()
    y = np.empty((50, COLUMNS), np.float32)
    assert pool() == before
    assert handler_name(y) == "default_allocator"
    assert handler_name() == "default_allocator"
    assert handler_name(result(33)) == "lanewise"


def test_an_array_is_resized_in_and_out_of_the_pool():
    y = result(40)
    y[:] = np.arange(COLUMNS, dtype=np.float32)
    y.resize((39, COLUMNS), refcheck=False)  # stays where it is
    assert pool() == (0, 40 * MB)
    y.resize((60, COLUMNS), refcheck=False)  # moves to a larger block; what is new is zeros
    assert pool() == (40 * MB, 60 * MB)
    np.testing.assert_array_equal(y[:39], np.broadcast_to(y[0], (39, COLUMNS)))
    np.testing.assert_array_equal(y[39:], 0)
    y.resize((10,), refcheck=False)  # to malloc
    assert pool() == (100 * MB, 0)
    np.testing.assert_array_equal(y, np.arange(10))
    y.resize((40, COLUMNS), refcheck=False)  # and stays there
    np.testing.assert_array_equal(y.ravel()[:10], np.arange(10))
    np.testing.assert_array_equal(y.ravel()[10:], 0)
    del y
    assert pool() == (100 * MB, 0)


def test_a_result_that_no_memory_holds():
    result(40)
    x = np.broadcast_to(np.float32(0), (1 << 20, 1 << 30))
    with pytest.raises(MemoryError):
        lw.softmax(x)
    rows = np.broadcast_to(np.float32(0), (1 << 31, 1))
    with pytest.raises(
        ValueError, match="pairwise_distances: no array can have the result's shape"
    ):
        lw.pairwise_distances(rows)
    assert handler_name() == "default_allocator"
    np.testing.assert_array_equal(result(33), np.float32(1 / COLUMNS))


def test_threads_share_it():
    """Arrays are made and dropped by four threads at once; no two ever share memory."""
    errors = []

    def work(number):
        kept = []
        for i in range(12):
            x = np.broadcast_to(np.float32(number), (33 + number, COLUMNS))
            y = lw.max_pool2d(x[:, :, None], 1)
            kept.append(y)
            if any(array.min() != number or array.max() != number for array in kept):
                errors.append(number)
            if i % 2:
                kept.pop(0)
                kept.pop(0)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert pool()[1] == 0


FORKS = """
import os, threading
import lanewise as lw, numpy as np
x = np.zeros((40, 1 << 18), np.float32)
kept = lw.softmax(x)
stop = threading.Event()
def churn():
    while not stop.is_set():
        lw.max_pool2d(x[:, :, None], 1)  # the pool's lock is often taken
churner = threading.Thread(target=churn)
churner.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        y = lw.softmax(x)
        same = np.array_equal(y, kept)
        del y
        lw.release_pool()
        os._exit(0 if same and lw.config()["pool_waiting"] == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
churner.join()
assert np.array_equal(kept, lw.softmax(x))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_find_it_whole():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=120)


OUTLIVED = """
import lanewise as lw, numpy as np
class Late:
    array = lw.softmax(np.zeros((40, 1 << 18), np.float32))
    def __del__(self):
        print(self.array[0, 0] * (1 << 18))
late = Late()
late.self = late
"""


def test_arrays_may_outlive_the_module():
    done = subprocess.run([sys.executable, "-c", OUTLIVED], check=True, capture_output=True)
    assert done.stderr == b""


LITTLE_MEMORY = """
import resource
import lanewise as lw, numpy as np
x = np.broadcast_to(np.float32(0), (64, 1 << 18))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
for rows in (64, 90, 40, 120, 64, 160, 250):  # fresh blocks, for which waiting ones must go
    y = lw.softmax(np.broadcast_to(x[0], (rows, 1 << 18)))
    del y
try:
    y = lw.softmax(np.broadcast_to(x[0], (600, 1 << 18)))
except MemoryError:
    pass
else:
    raise SystemExit("600 MB did not fail")
assert lw.softmax(np.zeros(3)).sum() == 1
"""


def test_waiting_blocks_are_given_up_where_memory_ends():
    subprocess.run([sys.executable, "-c", LITTLE_MEMORY], check=True, timeout=120)


def test_config_and_show_config_tell(capsys):
    y = result(40)
    config = lw.config()
    assert config["pool_in_use"] == 40 * MB
    assert config["pool_limit"] > 0
    lw.show_config()
    assert f"pool_in_use     {40 * MB}" in capsys.readouterr().out
    del y


def test_tracemalloc_counts_it():
    tracemalloc.start()
    try:
        y = result(40)
        assert 40 * MB <= tracemalloc.get_traced_memory()[0] < 41 * MB
        y.resize((60, COLUMNS), refcheck=False)
        assert 60 * MB <= tracemalloc.get_traced_memory()[0] < 61 * MB
        del y
        assert tracemalloc.get_traced_memory()[0] < MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("hand_over", ["from_numpy", "from_dlpack"])
def test_a_tensor_of_torch_keeps_it(hand_over):
    torch = pytest.importorskip("torch")
    y = result(40)
    tensor = getattr(torch, hand_over)(y)
    del y
    assert pool() == (0, 40 * MB)
    assert tensor.shape == (40, COLUMNS)
    assert (tensor == 1 / COLUMNS).all()
    del tensor
    gc.collect()
    assert pool() == (40 * MB, 0)


def test_it_keeps_no_reference_to_types():
    dtype = np.dtype(np.float32)
    too_large = np.broadcast_to(np.float32(0), (1 << 20, 1 << 30))
    result(40)
    before = sys.getrefcount(dtype)
    for _ in range(20):
        result(40)
        with pytest.raises(MemoryError):
            lw.softmax(too_large)
    assert abs(sys.getrefcount(dtype) - before) < 20
