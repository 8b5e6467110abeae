"""Settings, threads, forks, errors of the environment, and the cost of importing."""

import concurrent.futures
import os
import subprocess
import sys

import lanewise as lw
import numpy as np
import pytest
import threadpoolctl


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


X = np.random.default_rng(0).normal(size=(700, 40))


def test_threads_can_be_set_and_are_limited_by_openmp():
    for n in (1, 2, 3):
        lw.set_num_threads(n)
        assert lw.get_num_threads() == n
    for many in (1000, 2**40):
        lw.set_num_threads(many)
        assert lw.get_num_threads() == 3
    with threadpoolctl.threadpool_limits(2):
        assert lw.get_num_threads() == 2
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n is {n}"):
            lw.set_num_threads(n)
    with pytest.raises(TypeError, match=r"set_num_threads: n is 2\.0, expected an int"):
        lw.set_num_threads(2.0)


def test_the_default_number_of_threads_is_the_affinity_or_openmps():
    code = "import lanewise as lw; print(lw.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="5").stdout == "5\n"
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n" + code
    code = "import os; os.environ.pop('OMP_NUM_THREADS')\n" + code
    assert run(code).stdout == "1\n"


def test_simd_target_can_be_forced():
    available = lw.config()["simd_available"]
    assert available[-1] in ("sse4", "neon")
    for name in available:
        lw.set_simd_target(name)
        assert lw.config()["simd"] == name
        code = "import lanewise as lw; print(lw.config()['simd'])"
        assert run(code, LANEWISE_SIMD=name).stdout == name + "\n"
    lw.set_simd_target(None)
    assert lw.config()["simd"] == available[0]


def test_a_simd_target_that_is_not_there_is_refused():
    for name in ("avx1024", "AVX2", "neon" if "sse4" in lw.config()["simd_available"] else "sse4"):
        before = lw.config()["simd"]
        with pytest.raises(ValueError, match=f"set_simd_target: SIMD target '{name}'"):
            lw.set_simd_target(name)
        assert lw.config()["simd"] == before
    with pytest.raises(ValueError, match="name is ''"):
        lw.set_simd_target("")
    code = "import lanewise as lw, numpy as np; lw.pairwise_distances(np.ones((2, 2)))"
    result = run(code, LANEWISE_SIMD="mmx")
    assert result.returncode == 1
    assert "ValueError: LANEWISE_SIMD: SIMD target 'mmx'" in result.stderr


def test_every_target_computes_with_its_own_instructions():
    """Fused and unfused multiply-adds round differently: a forced target that did not run shows."""
    if not {"avx2", "sse4"} <= set(lw.config()["simd_available"]):
        pytest.skip("needs two targets of which one fuses")
    results = []
    for name in ("avx2", "sse4"):
        lw.set_simd_target(name)
        results.append(lw.pairwise_distances(X, metric="dot"))
    assert (results[0] != results[1]).any()


def test_config_and_show_config(capsys):
    config = lw.config()
    assert config["version"] == lw.__version__
    lw.show_config()
    printed = capsys.readouterr().out
    for key, value in config.items():
        assert key in printed
        assert str(value if not isinstance(value, list) else ", ".join(value)) in printed


EVERY_OP = """
def every_op(x):
    images = x.reshape(7, 20, 10, 20)
    return [
        lw.pairwise_distances(x),
        lw.conv2d(images, x[:180].reshape(3, 3, 20, 40)),
        lw.conv2d(images, x[:9, :20].reshape(3, 3, 1, 20), groups=20),
        lw.conv2d(images.astype(np.float16), x[:180].reshape(3, 3, 20, 40).astype(np.float16)),
        lw.conv1d(images[0], x[:30].reshape(3, 20, 20), pad_mode="wrap", padding=2),
        lw.conv_transpose2d(images, x[:180].reshape(3, 3, 40, 20), stride=2),
        *lw.conv2d_backward(images[:, 1:-1, 1:-1], images, x[:90].reshape(3, 3, 20, 20)),
        *lw.conv2d_backward(images, images, x[:9, :20].reshape(3, 3, 1, 20), groups=20, padding=1),
        *lw.conv2d_backward(images.astype("f4"), images.astype("f4"),
                            x[:90].reshape(3, 3, 20, 20).astype("f4"), padding=1),
        *lw.conv_transpose2d_backward(images, images[:, :10, :5], x[:40].reshape(2, 2, 20, 20),
                                      stride=2),
        lw.max_pool2d(images, 3, stride=1),
        lw.min_pool2d(images.astype(np.int8), 3, stride=1),
        lw.avg_pool2d(images, 3, stride=1),
        lw.global_avg_pool2d(images),
        lw.avg_pool2d_backward(images, images.shape, 3, stride=1, padding=1),
        lw.max_pool2d_backward(images, np.full(images.shape, 9), images.shape),
        lw.softmax(images, axis=1),
        lw.softmax(images, axis=(1, 2), mask=images > 0),
        lw.softmax_backward(x, x),
        lw.logsumexp(images, axis=(0, 3)),
        lw.softmax_jacobian(x),
        *lw.cross_entropy(x, (9 * abs(x[:, 0])).astype(int) % 5, return_grad=True),
        lw.pairwise_distances(x, metric="minkowski", p=3),
        lw.paired_distances(x, x[::-1], "canberra"),
    ]
"""
exec(EVERY_OP)


def test_several_python_threads_at_once():
    expected = every_op(X)  # noqa: F821
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda _: every_op(X), range(40)):  # noqa: F821
            for result, right in zip(results, expected):
                np.testing.assert_array_equal(result, right)


def test_a_forked_child_computes_the_same_bits():
    code = f"""
import os, sys, warnings
import numpy as np, lanewise as lw
{EVERY_OP}
warnings.simplefilter("ignore")  # Python warns of forking with threads, which is the point
x = np.random.default_rng(0).normal(size=(700, 40))
expected = every_op(x)  # starts the team
def same():
    return all(np.array_equal(a, b) for a, b in zip(every_op(x), expected))
child = os.fork()
if child == 0:
    os._exit(0 if same() else 3)
status = os.waitpid(child, 0)[1]
assert same()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_import_starts_no_thread_and_loads_nothing_but_numpy():
    code = """
import sys, os
import numpy
before, threads = set(sys.modules), len(os.listdir("/proc/self/task"))
import lanewise
assert len(os.listdir("/proc/self/task")) == threads
print(sorted(m for m in set(sys.modules) - before if not m.startswith(("lanewise", "numpy", "_"))))
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    loaded = set(eval(result.stdout))
    assert not {m for m in loaded if m.split(".")[0] not in sys.stdlib_module_names}, loaded


def test_no_memory_is_a_memory_error():
    code = """
import resource
import numpy as np, lanewise as lw
x = np.zeros((20000, 4), np.float32)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    lw.pairwise_distances(x)
except MemoryError:
    print("refused")
"""
    assert run(code, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1").stdout == "refused\n"


def test_an_unknown_name_says_so():
    with pytest.raises(AttributeError, match="no attribute 'conv4d'"):
        lw.conv4d  # noqa: B018


def test_scratch_is_bounded_by_the_caches_not_by_the_problem():
    """Strided views of 64 MiB are read in place: no op copies them or needs as much memory."""
    code = """
import resource
import numpy as np, lanewise as lw
x = np.ones((1, 1024, 1024, 32), np.float32)[..., ::2]
out, rows = np.ones((1, 1024, 1024, 16), np.float32), x[0].reshape(-1, 16)
one, distances = np.ones((1, 1024, 1024, 1), np.float32), np.ones((4, len(rows)), np.float32)
w = np.ones((3, 3, 16, 1), np.float32)
nchw, oihw = (0, 3, 1, 2), (3, 2, 0, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lw.conv2d(x, w, padding=1, out=one)
lw.conv2d(x.transpose(nchw), w.transpose(oihw), padding=1, layout="NCHW", out=one.transpose(nchw))
lw.conv2d(x, w.reshape(3, 3, 1, 16), padding=1, groups=16, out=out)
lw.max_pool2d(x, 3, stride=1, padding=1, out=out)
lw.avg_pool2d_backward(x, x.shape, 3, stride=1, padding=1, out=out)
lw.max_pool2d_backward(x, np.broadcast_to(np.int64(5), x.shape), x.shape, out=out)
lw.conv2d_backward(out, x, (3, 3, 1, 16), wrt=("w", "bias"), padding=1, groups=16)
lw.conv2d_backward(one, x, (3, 3, 16, 1), wrt=("w", "bias"), padding=1)
lw.conv2d_backward(one.transpose(nchw), x.transpose(nchw), (1, 16, 3, 3), wrt="w", padding=1,
                   layout="NCHW")
lw.conv_transpose2d_backward(x, (1, 128, 128, 1), np.ones((8, 8, 16, 1), np.float32),
                             wrt="x", stride=8)
for axis in (1, 3):
    lw.softmax(x, axis=axis, out=out)
    lw.softmax_backward(x, x, axis=axis, out=out)
lw.pairwise_distances(rows[:4], rows, out=distances)
lw.pairwise_distances(rows, rows[:4], out=distances.T)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 16 << 10  # KiB
