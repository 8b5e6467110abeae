"""The C++ package: installed, found, linked and run as another project would."""

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

import lanewise as lw
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "cpp"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configure(source, build, *options):
    generator = ("-G", "Ninja") if shutil.which("ninja") else ()
    return run("cmake", "-S", source, "-B", build, *generator, *options)


def sources():
    folders = (ROOT / "csrc", ROOT / "cmake")
    yield ROOT / "CMakeLists.txt"
    yield from (path for folder in folders for path in folder.rglob("*") if path.is_file())


def finished_build():
    """A build to install from, if there is one: LANEWISE_BUILD_DIR, or what pip has left here."""
    if "LANEWISE_BUILD_DIR" in os.environ:
        return Path(os.environ["LANEWISE_BUILD_DIR"])
    newest = max(path.stat().st_mtime for path in sources())
    libraries = ROOT.glob("build/cp*-linux_*/liblanewise.a")
    return next((lib.parent for lib in libraries if lib.stat().st_mtime > newest), None)


@pytest.fixture(scope="module")
def cmake():
    """Skips where there is nothing to build with."""
    if not shutil.which("cmake"):
        pytest.skip("cmake is not installed")
    if not (shutil.which("ninja") or shutil.which("make")):
        pytest.skip("neither ninja nor make is installed")


@pytest.fixture(scope="module")
def prefix(cmake, tmp_path_factory):
    """Where the package is installed; it takes minutes where it has to be built first."""
    build = finished_build()
    if build is None:
        build = tmp_path_factory.mktemp("build")
        configure(ROOT, build, "-DLANEWISE_PYTHON=OFF")
        run("cmake", "--build", build, "--parallel", "2")
    staging = tmp_path_factory.mktemp("staging") / "prefix"
    run("cmake", "--install", build, "--prefix", staging)
    # Moved, for nothing in it may know where it was.
    return staging.rename(tmp_path_factory.mktemp("elsewhere") / "lanewise")


def test_the_example_finds_links_and_runs(prefix, tmp_path):
    configure(EXAMPLE, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path)
    printed = run(tmp_path / "example").splitlines()
    assert printed[0].startswith(f"lanewise {lw.__version__}, ")
    assert printed[1:] == ["conv2d: 12 16 24 28", "pairwise_distances: 5 13"]

    # Its second program trains a network by gradients of convolution.
    losses = [float(line.rpartition(" ")[2]) for line in run(tmp_path / "train").splitlines()]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 10


def test_only_the_package_is_installed(prefix):
    installed = {path.relative_to(prefix) for path in prefix.rglob("*") if path.is_file()}
    headers = {path.name for path in installed if path.match("include/lanewise/*.h")}
    assert headers == {path.name for path in (ROOT / "csrc/include/lanewise").iterdir()}
    others = {path for path in installed if path.parts[0] != "include"}
    assert {path.suffix for path in others} == {".a", ".cmake"}
    text = "".join((prefix / path).read_text() for path in others if path.suffix == ".cmake")
    assert str(ROOT) not in text


def test_another_minor_version_is_not_compatible(prefix, tmp_path):
    major, minor = (int(part) for part in lw.__version__.split(".")[:2])
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(versions LANGUAGES CXX)\n"
        f"find_package(lanewise {major}.{minor} CONFIG REQUIRED)\n"
        "if(NOT TARGET lanewise::lanewise)\n  message(FATAL_ERROR missing)\nendif()\n"
        f"find_package(lanewise {major}.{minor + 1} CONFIG QUIET)\n"
        "if(lanewise_FOUND)\n  message(FATAL_ERROR found)\nendif()\n"
    )
    configure(tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")


def test_as_a_subdirectory_it_builds_the_library_only(cmake, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(parent LANGUAGES CXX)\n"
        f'add_subdirectory("{ROOT}" lanewise EXCLUDE_FROM_ALL)\n'
        f'add_executable(example "{EXAMPLE}/main.cc")\n'
        "target_link_libraries(example PRIVATE lanewise::lanewise)\n"
        "if(TARGET _core)\n  message(FATAL_ERROR extension)\nendif()\n"
    )
    configure(tmp_path, tmp_path / "build")  # names what a link line lacks


def test_the_wheel_holds_no_part_of_it():
    try:
        files = importlib.metadata.files("lanewise")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lanewise is on the path, but not installed")
    names = [path.name for path in files]
    assert any(name.startswith("_core.") for name in names)
    assert not [name for name in names if name.endswith((".a", ".h", ".cmake"))]
