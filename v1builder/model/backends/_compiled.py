"""How the kernels of the fused backend are compiled, and the one instruction numba lacks."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only other compiled functions call, and that makes no array.

    `_nrt=False` leaves out numba's counting of references to the arrays whose slices it passes on. The
    counters are shared by all threads: with them a rollout of 1 000 cells took 1.2 times as long. The
    caller at the top keeps the arrays alive. Such a function cannot return an array.
    """
    return njit(cache=True, _nrt=False, **options)  # pyright: ignore[reportCallIssue]


def _prefetch(_, array, index):
    byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32]),
            "llvm.prefetch.p0i8",
        )
        builder.call(function, [address, i32(0), i32(3), i32(1)])  # to read; keep; of data
        return context.get_dummy_value()

    return types.void(array, index), codegen


#: prefetch(array, index): ask for the cache line of array[index] without waiting for it.
prefetch: Any = intrinsic(_prefetch)
