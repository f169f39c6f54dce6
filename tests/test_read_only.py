"""Read-only code, no home, a full disk: compiled functions need no cache."""

import os
import textwrap

from tests.conftest import ROOT, python
from tests.test_compiled import compiled_modules

# As where code and home are read-only: numba looks in the home alone, which is not there.
NO_FOLDER = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator", "HOME": "/proc/none"}
SUM = """
import numpy as np
from crowd.io.compiled import njit

@njit(cache=True)
def total(values):
    result = 0.0
    for value in values:
        result += value
    return result
"""


def run(code, folder, **variables):
    """Run code that may import SUM, as `kernel`, from `folder`."""
    (folder / "kernel.py").write_text(SUM)
    path = os.pathsep.join([str(folder), str(ROOT)])
    plain = {key: os.environ[key] for key in os.environ if not key.startswith("NUMBA_")}
    plain |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return python(textwrap.dedent(code), environment=plain, **variables)


def test_every_compiled_module_is_imported_where_nothing_can_be_cached(tmp_path):
    files = [*ROOT.glob("[!.t]*/**/*.py"), *ROOT.glob("*.py")]
    assert [path for path in files if "from numba import" in path.read_text("utf-8")] == []
    modules = [module.__name__ for module in compiled_modules()]
    assert len(modules) > 4
    code = f"import numpy, kernel, {', '.join(modules)}; print(kernel.total(numpy.arange(5.0)))"
    done = run(code, tmp_path, **NO_FOLDER)
    assert (done.stdout, done.returncode) == ("10.0\n", 0), done.stderr
    assert done.stderr.count("set NUMBA_CACHE_DIR to a folder") == 1


def test_a_full_disk_under_the_cache_costs_time_alone(tmp_path):
    code = """
        import resource
        import numpy as np, kernel
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        print(kernel.total(np.arange(5.0)))
    """
    done = run(code, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert (done.stdout, done.returncode) == ("10.0\n", 0), done.stderr
    assert "set NUMBA_CACHE_DIR" in done.stderr


def test_a_cache_that_is_cut_short_is_not_the_end(tmp_path):
    code = "import numpy as np, kernel; print(kernel.total(np.arange(5.0)))"
    cache = tmp_path / "cache"
    for ending in ("nbi", "nbc"):
        run(code, tmp_path, NUMBA_CACHE_DIR=str(cache))
        (file,) = cache.rglob(f"*.{ending}")
        file.write_bytes(file.read_bytes()[:20])
        done = run(code, tmp_path, NUMBA_CACHE_DIR=str(cache))
        assert (done.stdout, done.returncode) == ("10.0\n", 0), done.stderr
        file.unlink()
