"""The process that computes: `bench.gpu.command` starts it and tells it which stage is next."""

from __future__ import annotations

import sys

import torch

from bench.gpu import machine, splatting, stages, stand_ins, steps, training

STAGES = {
    "a_machine": machine.describe,
    "b_build": machine.build,
    "c_tests": machine.test,
    "d_parity": machine.parity,
    "e_splatting": splatting.splat,
    "f_steps": steps.measure_steps,
    "g_alignment": splatting.align,
    "h_light": training.train_light,
    "i_vgg": training.train_paper,
}

if __name__ == "__main__":
    if "--rehearse" in sys.argv:
        torch.set_num_threads(1)
        stand_ins.install()
    stages.serve(STAGES)
