"""The imitated machines: what differs is seen, and settings reach the libraries."""

import platform

import numpy as np
import pytest

from crowd.io.errors import InputError
from tests.conftest import python
from tests.machines.__main__ import FILES, LIMITS, ROOT, deviations, main
from tests.machines.settings import WEAKEST


def test_deviations_are_shares_of_the_largest_value_and_numbers_of_choices():
    plain = {
        "costs: a": np.array([0.5, -2.0]),
        "costs: b": np.array([1.0, 1.0]),
        "fits: c": np.array([3.0]),
        "choices: d": np.array([1, 2, 3]),
        "choices: e": np.array([1, 2]),
    }
    assert deviations(plain, plain) == dict.fromkeys(LIMITS, 0.0)
    other = plain | {
        "costs: a": np.array([0.5, -2.1]),
        "costs: b": np.array([1.0, 1.01]),
        "fits: c": np.array([np.nan]),
        "choices: d": np.array([1, 0, 0]),
        "choices: e": np.array([0, 2]),
    }
    found = deviations(plain, other)
    assert found["costs"] == pytest.approx(0.05)
    assert found["fits"] == np.inf
    assert found["choices"] == 3
    assert found["losses"] == 0


def test_every_file_of_tests_is_there():
    assert [file for file in FILES if not (ROOT / file).is_file()] == []


SAID = """
import numba
import torch
from numba.core.registry import cpu_target
from numpy._core._multiarray_umath import __cpu_features__
from threadpoolctl import threadpool_info

print({one["architecture"] for one in threadpool_info() if one["internal_api"] == "openblas"})
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
print(cpu_target.target_context.codegen().magic_tuple()[1:])
print(__cpu_features__["X86_V3"])
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks for kernels of x86-64")
def test_the_weakest_setting_reaches_the_libraries():
    said = python(SAID, **WEAKEST).stdout.splitlines()
    assert said == ["{'Nehalem'}", "DEFAULT 1", "('generic', '')", "False"]


def test_an_unknown_setting_is_one_sentence():
    with pytest.raises(InputError, match=r"unknown setting 'Z80': choose of plain, .*weakest"):
        main.__wrapped__(["--settings", "Z80"])
