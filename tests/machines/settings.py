"""Variables that choose the kernels of numpy, torch, OpenCV, numba and the C library.

torch multiplies matrices and evaluates exponentials by MKL, which none but its own variable steers.
"""

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

PLAIN = {"OMP_NUM_THREADS": "1"}
CHOICES = {
    "OMP_NUM_THREADS": ["2", "3"],
    "OPENBLAS_CORETYPE": ["Nehalem", "Sandybridge", "Haswell", "SkylakeX"],
    "MKL_CBWR": ["COMPATIBLE", "SSE4_2", "AVX2"],
    "ATEN_CPU_CAPABILITY": ["default", "avx2"],
    "ONEDNN_MAX_CPU_ISA": ["SSE41", "AVX2"],
    "NUMBA_CPU_NAME": ["generic"],
    "OPENCV_IPP": ["disabled"],
}
# What numpy's own loops can use beyond their baseline, and this processor has.
EXTENSIONS = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name])
OTHERS = {
    "numpy's baseline": {"NPY_DISABLE_CPU_FEATURES": EXTENSIONS},
    "C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA"},
}
WEAKEST = {
    **{name: values[0] for name, values in CHOICES.items()},
    **{name: value for setting in OTHERS.values() for name, value in setting.items()},
    **PLAIN,
}
SETTINGS = {
    "plain": {},
    **{f"{name}={value}": {name: value} for name, values in CHOICES.items() for value in values},
    **OTHERS,
    "weakest": WEAKEST,
}
# A library that is told to use what the processor lacks crashes.
NEEDED = {"Sandybridge": "AVX", "Haswell": "AVX2", "SkylakeX": "AVX512_SKX", "avx2": "AVX2"}


def missing_feature(setting: str) -> str | None:
    """What this processor lacks to run `setting`, or None."""
    needed = NEEDED.get(setting.rpartition("=")[2])
    return None if needed is None or __cpu_features__.get(needed) else needed
