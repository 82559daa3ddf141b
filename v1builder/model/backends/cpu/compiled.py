"""How the kernels of the fused backend are compiled, and what numba cannot express."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from v1builder.schema.numba_cache import forget_stale

#: The sources of compiled functions, and of what they take types from.
SOURCES: Final = (
    *(f"{name}.py" for name in ("backward", "compiled", "edges", "forward", "membrane", "replay")),
    *(
        f"{name}.py"
        for name in ("sites", "smooth_step", "structures", "threshold", "tiles", "walk")
    ),
    "../fields.py",
    "../layout.py",
)
forget_stale(Path(__file__).parent, *SOURCES)


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that only other compiled functions call, and that makes no array.

    `_nrt=False` leaves out numba's counting of references to the arrays whose slices it passes on. The
    counters are shared by all threads: with them a rollout of 1 000 cells took 1.2 times as long. The
    caller at the top keeps the arrays alive. Such a function cannot return an array. A division by zero
    gives infinity, as in numpy: to test for it would cost a branch in loops that have none.
    """
    return njit(cache=True, _nrt=False, error_model="numpy", **options)  # pyright: ignore[reportCallIssue]


@kernel()
def copy(values, into):
    """Into an array of the same length; numba's own assignment would count references."""
    for i in range(values.shape[0]):
        into[i] = values[i]


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


#: Samples, and sources of dense edges, that are taken together.
EIGHT: Final = 8


def _place(builder, array, row):
    """Pointer to a row of a two-dimensional array, to bytes."""
    stride = cgutils.unpack_tuple(builder, array.strides, 2)[0]
    bytes_ = builder.bitcast(array.data, ir.IntType(8).as_pointer())
    return builder.gep(bytes_, [builder.mul(row, stride)])


def _on_every_lane(builder, value, lanes):
    """A number as a vector of so many."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(one, undefined, zeros)


def _add_dots(n_sources: int) -> Any:
    """See `add_dots_8`."""

    def typed(_, out, weight, arrival):
        def codegen(context, builder, signature, arguments):
            out, weight, arrival = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args, arguments, strict=True)
            )
            number = weight.data.type.pointee
            samples, size_of = ir.VectorType(number, EIGHT), context.get_abi_sizeof(number)
            multiply_add = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(samples, [samples] * 3),
                f"llvm.fmuladd.v{EIGHT}f{8 * size_of}",
            )
            n = cgutils.unpack_tuple(builder, weight.shape, 2)[1]
            rows = [n.type(i) for i in range(n_sources)]
            weights = [
                builder.bitcast(_place(builder, weight, i), number.as_pointer()) for i in rows
            ]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(samples, None)) for _ in rows]
            with cgutils.for_range(builder, n) as loop:
                place = builder.bitcast(_place(builder, arrival, loop.index), samples.as_pointer())
                values = builder.load(place, align=size_of)
                for own, total in zip(weights, sums, strict=True):
                    one = builder.load(builder.gep(own, [loop.index]))
                    every = _on_every_lane(builder, one, EIGHT)
                    more = builder.call(multiply_add, [every, values, builder.load(total)])
                    builder.store(more, total)
            for i, total in zip(rows, sums, strict=True):
                into = builder.bitcast(_place(builder, out, i), samples.as_pointer())
                added = builder.fadd(builder.load(into, align=size_of), builder.load(total))
                builder.store(added, into, align=size_of)
            return context.get_dummy_value()

        return types.void(out, weight, arrival), codegen

    return intrinsic(typed)


#: add_dots_8(out, weight, arrival): adds weight [8, n] times arrival [n, 8] to out [8, 8], rows of all three
#: contiguous. What arrives is loaded once for eight sources: 512 cells and 32 samples take 190 us, by
#: `add_dot_8` 950, by a matrix product of torch 190 (one core). `add_dots_1` gives the same of one source.
add_dots_8: Any = _add_dots(EIGHT)
add_dots_1: Any = _add_dots(1)


def _add_dot_8(_, out, weight, slot, arrival, start, size):
    def codegen(context, builder, signature, arguments):
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:4], arguments[:4], strict=True)
        ]
        out, weight, slot, arrival = (array.data for array in arrays)
        row_bytes = cgutils.unpack_tuple(builder, arrays[3].strides, 2)[0]
        first, n_positions = arguments[4:]
        i8, number = ir.IntType(8), weight.type.pointee
        samples = ir.VectorType(number, EIGHT)
        size_of = context.get_abi_sizeof(number)
        multiply_add = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(samples, [samples] * 3),
            f"llvm.fmuladd.v{EIGHT}f{8 * size_of}",
        )
        sums = [cgutils.alloca_once_value(builder, ir.Constant(samples, None)) for _ in range(2)]

        def add(e, total):
            at = builder.add(first, builder.load(builder.gep(slot, [e])))
            around = builder.sub(at, n_positions)
            at = builder.select(builder.icmp_unsigned("<", around, at), around, at)
            place = builder.mul(builder.zext(at, row_bytes.type), row_bytes)
            place = builder.gep(builder.bitcast(arrival, i8.as_pointer()), [place])
            values = builder.load(builder.bitcast(place, samples.as_pointer()), align=size_of)
            every = _on_every_lane(builder, builder.load(builder.gep(weight, [e])), EIGHT)
            builder.store(builder.call(multiply_add, [every, values, builder.load(total)]), total)

        n = cgutils.unpack_tuple(builder, arrays[2].shape, 1)[0]
        one, two = n.type(1), n.type(2)
        with cgutils.for_range_slice(builder, n.type(0), builder.sub(n, one), two, inc=True) as (
            e,
            _,
        ):
            add(e, sums[0])
            add(builder.add(e, one), sums[1])
        with builder.if_then(builder.icmp_signed("==", builder.srem(n, two), one)):
            add(builder.sub(n, one), sums[0])
        into = builder.bitcast(out, samples.as_pointer())
        total = builder.fadd(builder.load(sums[0]), builder.load(sums[1]))
        total = builder.fadd(builder.load(into, align=size_of), total)
        builder.store(total, into, align=size_of)
        return context.get_dummy_value()

    return types.void(out, weight, slot, arrival, start, size), codegen


#: add_dot_8(out, weight, slot, arrival, start, size): adds to out [8] the sum over the edges of a source of
#: weight * arrival[position], arrival [size, 8 or more] of eight samples side by side, where position is
#: start + slot, less size from there on; start, size uint32. As one vector, which takes a third of the time
#: of eight numbers: numba leaves out the compiler's pass that would find it.
add_dot_8: Any = intrinsic(_add_dot_8)
