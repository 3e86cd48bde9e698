"""Asking the memory for a row before it is needed. Imported by kernels' factories only: it needs numba.

A factory closes over this module rather than over the function: numba's cache then finds the kernel again.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["row"]

LINE = 64
"""Bytes that come from memory at once, on the processors we know."""

_i32, _i64, _pointer = ir.IntType(32), ir.IntType(64), ir.PointerType(ir.IntType(8))


def _row(typing_context: Any, array: Any, r: Any) -> Any:
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrix = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = context.cast(builder, arguments[1], signature.args[1], types.int64)
        stride, _ = cgutils.unpack_tuple(builder, matrix.strides)
        address = builder.add(builder.ptrtoint(matrix.data, _i64), builder.mul(place, stride))
        kind = ir.FunctionType(ir.VoidType(), [_pointer, _i32, _i32, _i32])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(_i32, number) for number in (0, 3, 1))
        end = builder.add(address, stride)
        with cgutils.for_range_slice(builder, address, end, ir.Constant(_i64, LINE), intp=_i64) as (line, _):
            builder.call(prefetch, [builder.inttoptr(line, _pointer), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, r), generate


row: Any = intrinsic(_row)
"""row(matrix, r): start loading matrix[r, :] of a C-contiguous matrix. No wait, no value, no effect on any result."""
