"""What of NumPy's functions there is not on purpose, and what to use instead.

The text of the error of `gradloom.numpy.NAME` shows it.
"""

from __future__ import annotations


def _all(names: str, repair: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), repair)


ABSENT: dict[str, str] = {
    **_all(
        """array2string array_repr array_str base_repr binary_repr format_float_positional
        format_float_scientific get_printoptions set_printoptions printoptions typename info""",
        "text is made of values: return the array and use NumPy's function on it",
    ),
    **_all(
        """fromfile fromregex fromstring genfromtxt load loadtxt save savetxt savez
        savez_compressed memmap""",
        "files are read and written outside of traced functions: use NumPy's function there",
    ),
    **_all(
        "frombuffer from_dlpack fromiter asarray_chkfinite require",
        "makes arrays from memory or iterators: use NumPy's function outside",
    ),
    **_all(
        "copyto place put putmask",
        "changes its argument in place: write x = x.at[key].set(v), or gnp.where(mask, v, x)",
    ),
    **_all(
        "trim_zeros intersect1d setdiff1d setxor1d",
        "the size of its result depends on values: use gnp.unique(x, size=n), gnp.isin and"
        " gnp.where, or NumPy's function outside",
    ),
    **_all(
        "polyfit roots polydiv",
        "use gnp.linalg.lstsq on gnp.vander(x, degree + 1), or NumPy's function outside",
    ),
    **_all(
        "busday_count busday_offset is_busday busdaycalendar datetime_as_string datetime_data"
        " datetime64 timedelta64 isnat",
        "there are no dates among the dtypes: encode them in numbers first",
    ),
    **_all(
        "packbits unpackbits",
        "write it with gnp.left_shift, gnp.bitwise_and and gnp.sum",
    ),
    **_all(
        "asmatrix bmat matrix chararray recarray record char rec ma poly1d",
        "there is one class of arrays: use arrays and gnp.block, or gnp.polyval for polynomials",
    ),
    **_all(
        """nditer nested_iters ndenumerate flatiter broadcast frompyfunc vectorize apply_along_axis
        apply_over_axes ufunc""",
        "calls Python an element at a time: write it with whole arrays, or with gl.vmap",
    ),
    **_all(
        """geterr seterr geterrcall seterrcall errstate getbufsize setbufsize get_include
        show_config show_runtime test may_share_memory shares_memory isfortran""",
        "is about NumPy's process or memory: use NumPy's function outside",
    ),
    **_all(
        "histogram2d histogramdd",
        "use gnp.bincount(gnp.ravel_multi_index(...), length=n) on gnp.digitize of each axis",
    ),
    **_all(
        "float16 half float128 longdouble clongdouble complex256 object_ str_ bytes_ void"
        " character flexible generic",
        "there is no such dtype here: convert the array first",
    ),
    **_all("sort_complex", "use gnp.lexsort((x.imag, x.real)) and gnp.take"),
    **_all(
        "__array_namespace_info__",
        "there is one device, the CPU, and the dtypes that gradloom.numpy lists",
    ),
    **_all("linalg.LinAlgError", "compiled code raises nothing: test results with gnp.isnan"),
    **_all("linalg.test fft.test", "tests NumPy itself: use NumPy's function outside"),
    **_all(
        "linalg.eig linalg.eigvals",
        "use gnp.linalg.eigh or eigvalsh for symmetric matrices, svd for others, or NumPy's"
        " function through gl.pure_callback",
    ),
    **_all("mintypecode common_type", "use gnp.result_type"),
    **_all("row_stack", "use gnp.vstack, its name in NumPy 2"),
    **_all("in1d", "use gnp.isin"),
    **_all("trapz", "use gnp.trapezoid, its name in NumPy 2"),
    **_all("real_if_close", "its dtype depends on values: use gnp.real(x)"),
}
