"""Prefetch instruction for kernels: load a matrix row into the CPU cache before it is needed.

Only kernel factories import this module, because it requires numba. They close over the module, not over the function,
so that numba finds the kernel in its cache.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["row"]

CACHE_LINE = 64
"""The cache line size of common processors, in bytes."""

_i32, _i64, _pointer = ir.IntType(32), ir.IntType(64), ir.PointerType(ir.IntType(8))


def _row(typing_context: Any, array: Any, r: Any) -> Any:
    """Return the signature and the code generator for `row`."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix = context.make_array(signature.args[0])(context, builder, arguments[0])
        index = context.cast(builder, arguments[1], signature.args[1], types.int64)
        stride, _ = cgutils.unpack_tuple(builder, matrix.strides)
        address = builder.add(builder.ptrtoint(matrix.data, _i64), builder.mul(index, stride))
        function_type = ir.FunctionType(ir.VoidType(), [_pointer, _i32, _i32, _i32])
        prefetch = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        read, locality, data = (ir.Constant(_i32, number) for number in (0, 3, 1))
        end = builder.add(address, stride)
        with cgutils.for_range_slice(builder, address, end, ir.Constant(_i64, CACHE_LINE), intp=_i64) as (line, _):
            builder.call(prefetch, [builder.inttoptr(line, _pointer), read, locality, data])
        return context.get_dummy_value()

    return types.void(array, r), generate


row: Any = intrinsic(_row)
"""row(matrix, r): start to load matrix[r, :] of a C-contiguous matrix into the cache, without waiting for it."""
