"""Compile every kernel that the estimators launch for a GPU that need not be there; run by `test_triton.py`.

Triton's interpreter accepts what its compiler would refuse: types that differ between branches, shapes, reductions. So
the launches are caught here, and each is compiled to machine code instead of being run.
"""

import itertools

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import discretegrad as dg
from discretegrad.ops import dispatch, kernels
from discretegrad.ops.inverse_cdf import triton as draws
from discretegrad.ops.score import triton as score
from discretegrad.ops.tree import triton as tree

TYPES = {
    torch.bool: "*i1",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
compiled = set()


class Compiled:
    """A kernel that is compiled where it would be launched, with the types and constants of that launch."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return self

    def __call__(self, *arguments, num_warps, enable_fp_fusion, **constants):
        signature = {}
        for name, value in (*zip(self.kernel.arg_names, arguments, strict=False), *constants.items()):
            if name in constants or value is None or (isinstance(value, int) and value == 1):  # as in a launch
                signature[name], constants[name] = "constexpr", value
            else:
                signature[name] = TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32"
        key = (self.kernel.__name__, *signature.values(), *map(str, constants.values()))
        if key not in compiled:
            compiled.add(key)
            source, options = ASTSource(self.kernel, signature, constants), {"num_warps": num_warps}
            options["enable_fp_fusion"] = enable_fp_fusion
            assert triton.compile(source, GPUTarget("cuda", 80, 32), options).asm["cubin"]


def main():
    launch = kernels.launch
    kernels.launch = lambda kernel, *arguments, **constants: launch(Compiled(kernel), *arguments, **constants)
    kernels.empty = lambda shape, dtype, like: torch.zeros(shape, dtype=dtype)
    estimators = (
        dg.RLOO(),
        dg.Reinforce(),
        dg.DisARMTree(num_pairs=2),
        dg.DisARMTree(tree=((4, (0, 2)), (1, 3)), order="ascending"),
        dg.DisARMSB(),
        dg.DisARMIW(num_pairs=2),
    )
    with dg.ops.using("triton"):
        dispatch._interpreted = True  # so that CPU tensors are let through
        for estimator, categories, dtype in itertools.product(
            estimators, (5, 4096, 10_000), (torch.bfloat16, torch.float32, torch.float64)
        ):
            if categories != 5 and getattr(estimator.coupling, "shape", None) not in (None, "balanced", "caterpillar"):
                continue
            logits = torch.zeros(2, 3, categories, dtype=dtype, requires_grad=True)
            draw = estimator.sample(logits)
            values = draw.points[..., 0].float().sum(-1)
            estimator.surrogate(draw, values).sum().backward()
        for categories in (5, 10_000):  # what a mask switches off, noise that is given, the score of logits
            logits, mask, noise = torch.zeros(6, categories), torch.ones(6) > 0, torch.zeros(3, 2, 6).double()
            ids = draws.categorical(logits, noise[0], mask)
            score.of_logits(logits, ids, torch.zeros(2, 6), mask)
            for shape, order in (("balanced", None), ("caterpillar", "ascending")):
                plan = tree.pairs(shape, order, logits, mask)
                ids, _ = plan.sample(noise)
                plan.gradient(ids, torch.zeros(2, 6))
                plan.importance(ids, torch.zeros(2, 6))
    print(len(compiled), "kernels")


if __name__ == "__main__":
    main()
